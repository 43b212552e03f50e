"""What SQLite calls what other databases call differently."""

from __future__ import annotations

from registry_core.store.sort_keys import METRICS
from registry_core.store.sql.dialect import Dialect

# An older index is read through it, and filled with it.
_SORT_KEYS = " UNION ALL ".join(
    (
        *(
            f"SELECT model, '{key}' AS key, {value} AS value, number FROM versions "
            f"WHERE {value} IS NOT NULL"
            for key, value in {
                "created": "created",
                "group": "grouped",
                **{
                    key: f"json_extract(summary, '$.{key}')"
                    for key in ("preset", "dataset", "seed")
                },
            }.items()
        ),
        f"SELECT model, '{METRICS}' || key, json_each.value, number "
        "FROM versions, json_each(summary, '$.metrics') WHERE json_each.value IS NOT NULL",
    )
)

SQLITE = Dialect(
    json_object="json_group_object({})",
    json_rows="json_group_array({})",
    json_array="json_array({})",
    pairs="SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:pairs)",
    numbers="SELECT value FROM json_each(:numbers)",
    sort_keys=_SORT_KEYS,
    incumbent="json_extract(evidence, '$.incumbent')",
    compared="json_extract(evidence, '$.comparison.fingerprint')",
    no_limit=-1,
)
