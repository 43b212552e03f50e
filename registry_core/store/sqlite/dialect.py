"""What SQLite calls what other databases call differently."""

from __future__ import annotations

from registry_core.store.sql.dialect import Dialect

SQLITE = Dialect(
    json_object="json_group_object({})",
    json_rows="json_group_array({})",
    json_array="json_array({})",
    pairs="SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs)",
    incumbent="json_extract(evidence, '$.incumbent')",
    compared="json_extract(evidence, '$.comparison.fingerprint')",
    no_limit=-1,
)
