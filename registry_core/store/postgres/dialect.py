"""What PostgreSQL calls what other databases call differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from psycopg.types.json import Jsonb

from registry_core.store.sort_keys import METRICS
from registry_core.store.sql.dialect import Connection, Dialect

if TYPE_CHECKING:
    from registry_core.store.postgres.connections import Statements

# as JSON, so that one column has numbers and texts, each in its order
_SORT_KEYS = " UNION ALL ".join(
    (
        *(
            f"SELECT model, '{key}' AS key, {value} AS value, number FROM versions "
            f"WHERE {value} IS NOT NULL"
            for key, value in {
                "created": "to_jsonb(created)",
                "group": "to_jsonb(grouped)",
                **{
                    key: f"nullif(CAST(summary AS jsonb) -> '{key}', 'null')"
                    for key in ("preset", "dataset", "seed")
                },
            }.items()
        ),
        f"SELECT model, '{METRICS}' || metric.key, metric.value, number "
        "FROM versions, jsonb_each(CAST(summary AS jsonb) -> 'metrics') AS metric "
        "WHERE metric.value <> 'null'",
    )
)


def _session_user(connection: Connection) -> str:
    """Who connected, whatever role they took since: a policy of the ledger asks for this name."""
    return cast("Statements", connection).user


POSTGRES = Dialect(
    json_object="coalesce(CAST(json_object_agg({}) AS text), '{{}}')",
    json_rows="coalesce(CAST(json_agg({}) AS text), '[]')",
    json_array="json_build_array({})",
    pairs="SELECT value ->> 0, value ->> 1 FROM json_array_elements(CAST(:pairs AS json)) AS pair",
    numbers="SELECT CAST(value AS bigint) "
    "FROM json_array_elements_text(CAST(:numbers AS json)) AS each_number (value)",
    sort_keys=_SORT_KEYS,
    incumbent="(CAST(evidence AS json) #>> '{incumbent}')",
    compared="(CAST(evidence AS json) #>> '{comparison,fingerprint}')",
    no_limit=None,
    among="({} IN ({})) IS TRUE",  # as no join: the rows are read once, into a hash table
    sort_value=Jsonb,
    account=_session_user,
)
