"""Every role of a team's registry tries every deed, over a real PostgreSQL and S3.

`python tests/store/test_roles.py` writes the table of docs/team.md.
"""

from __future__ import annotations

import functools
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import transfer_helpers

sys.path.insert(0, str(Path(__file__).parents[1]))

from s3_server import s3
from store_helpers import publish
from team_servers import postgresql

from registry_core.errors import MlregError, RefusedError
from registry_core.places import RegistryPlace
from registry_core.records import LedgerAction, Version
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit
from registry_core.store.parts import team_parts
from registry_core.store.postgres.grants import KEEPER, PROMOTER, READER, TRAINER, grants
from registry_core.store.postgres.index import PostgresIndex

PAGE = Path(__file__).parents[2] / "docs" / "team.md"

# user -> the role that it has
USERS = {"nobody": None, "rita": READER, "tom": TRAINER, "pia": PROMOTER, "kai": KEEPER}


# a trainer and a promoter may, too
WRITER = "writer"


class Team:
    """A registry with roles, one user of each, and the owner, who prepares what they try."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url, self.objects = postgresql().fresh_url(), s3().fresh_url()
        self.schema = PostgresIndex(self.url, 1).schema
        self.owner = self.store("postgres")
        publish(self.owner, "first")
        self._numbers = itertools.count(1)
        self.elsewhere = Registry(folder / "elsewhere", Settings())
        transfer_helpers.publish(self.elsewhere.store, "dummy")
        with postgresql().connect() as connection:
            connection.execute(grants(self.schema))
            for user, role in USERS.items():
                name = self.user(user)
                connection.execute(f"DROP ROLE IF EXISTS {name}")
                connection.execute(f"CREATE ROLE {name} LOGIN {f'IN ROLE {role}' if role else ''}")

    def user(self, name: str) -> str:
        return name if name == "postgres" else f"mlreg_test_{name}"

    def url_of(self, name: str) -> str:
        return self.url.replace("//postgres@", f"//{self.user(name)}@")

    def store(self, name: str) -> Store:
        """The registry as one user has it on a machine of their own."""
        folder = self.folder / f"runs of {name}"
        return Store(team_parts(folder, self.url_of(name), self.objects, busy_seconds=30))

    def model(self) -> str:
        return f"model{next(self._numbers)}"

    def version(self) -> Version:
        """A version of a new model."""
        return publish(self.owner, self.model())

    def aliased(self) -> Version:
        """One that has the alias production, which another one had before."""
        first = self.version()
        second = publish(self.owner, first.model, b"better")
        for version in (first, second):
            self.owner.move_alias(version, "production")
        return second

    def removed(self) -> Version:
        version = self.version()
        self.owner.removals.remove(version, 0)
        return version

    def execute(self, user: str, statement: str) -> None:
        """A statement of a program that is not mlreg."""
        import psycopg

        try:
            with psycopg.connect(self.url_of(user)) as connection:
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise RefusedError(f"PostgreSQL: {error}") from error


Deed = Callable[[Team, Store, str], object]

_DEEDS: dict[str, tuple[str, Deed]] = {}


def deed(what: str, needs: str | None) -> Callable[[Deed], Deed]:
    """Add a deed to the table, with the role that may do it; None for nobody."""

    def add(function: Deed) -> Deed:
        _DEEDS[what] = (needs or "", function)
        return function

    return add


@deed("list models, versions and history", READER)
def _list(team: Team, store: Store, user: str) -> object:
    return store.models(), store.versions("first"), store.ledger("first")


@deed("read a version's files", READER)
def _load(team: Team, store: Store, user: str) -> object:
    (version,) = store.versions("first")
    return store.read(version, "model.keras")


@deed("verify", READER)
def _verify(team: Team, store: Store, user: str) -> object:
    found = audit(store)
    assert found.problems == []
    return found


@deed("train and register a version", TRAINER)
def _run(team: Team, store: Store, user: str) -> object:
    return publish(store, team.model())


@deed("copy a version from another registry", TRAINER)
def _copy(team: Team, store: Store, user: str) -> object:
    place = RegistryPlace(store.folder, "", team.url_of(user), team.objects)
    target = Registry(place, Settings())
    accepts = lambda *_: None  # noqa: E731 - its file is no model
    found = team.elsewhere.push(["dummy@1"], target, name=team.model(), examine=accepts)
    if found.error:
        raise found.error
    return found


@deed("promote", PROMOTER)
def _promote(team: Team, store: Store, user: str) -> object:
    return store.move_alias(team.version(), "production")


@deed("roll back", PROMOTER)
def _roll_back(team: Team, store: Store, user: str) -> object:
    first = team.owner.versions(team.aliased().model)[-1]
    return store.move_alias(first, "production", action=LedgerAction.ROLLED_BACK)


@deed("ask for a promotion", WRITER)
def _ask(team: Team, store: Store, user: str) -> object:
    version = team.version()
    return store.ask(store.check(version), "production", "", {}, None, None)


@deed("approve a promotion", PROMOTER)
def _approve(team: Team, store: Store, user: str) -> object:
    checked = team.owner.check(team.version())
    request = team.owner.ask(checked, "production", "", {}, None, None)
    return store.approve(checked, request.number, "", {}, 1, None, None)


@deed("decline a promotion", PROMOTER)
def _decline(team: Team, store: Store, user: str) -> object:
    checked = team.owner.check(team.version())
    request = team.owner.ask(checked, "production", "", {}, None, None)
    return store.decline(request.number, "not yet")


@deed("sign a version", WRITER)
def _sign(team: Team, store: Store, user: str) -> object:
    return store.signatures.add(team.version(), b"signature", b"key")


@deed("delete an alias", PROMOTER)
def _release(team: Team, store: Store, user: str) -> object:
    return store.release_alias(team.aliased().model, "production")


@deed("tag", PROMOTER)
def _tag(team: Team, store: Store, user: str) -> object:
    return store.tag(team.version(), {"reviewed": "yes"})


@deed("set a promotion rule", KEEPER)
def _set_rule(team: Team, store: Store, user: str) -> object:
    rule = PromotionRule(floor={"test_accuracy": 0.1})
    return store.rules.change(lambda rules: {f"alias{next(team._numbers)}": rule})


@deed("remove a version", KEEPER)
def _remove(team: Team, store: Store, user: str) -> object:
    return store.removals.remove(team.version(), 0)


@deed("restore a version", KEEPER)
def _restore(team: Team, store: Store, user: str) -> object:
    from registry_core.refs import parse_ref

    return store.removals.restore(parse_ref(team.removed().ref))


@deed("delete removed files for good", KEEPER)
def _collect(team: Team, store: Store, user: str) -> object:
    team.removed()
    return store.removals.collect(0, 0)


@deed("delete files that nothing needs", KEEPER)
def _collect_orphans(team: Team, store: Store, user: str) -> object:
    return store.removals.collect(10_000, 10_000)


@deed("write a row of the ledger in another user's name", KEEPER)
def _forge(team: Team, store: Store, user: str) -> object:
    fields = "'2026-01-01T00:00:00Z', 'anna', 'promoted', 'first', 1, 'a', NULL, '', '{}', '', ''"
    table = f"{team.schema}.ledger"
    statement = f"INSERT INTO {table} SELECT max(number) + 1, {fields} FROM {table}"
    return team.execute(user, f"BEGIN; {statement}; ROLLBACK")


@deed("change a row of the ledger", None)
def _rewrite(team: Team, store: Store, user: str) -> object:
    return team.execute(user, f"UPDATE {team.schema}.ledger SET who = 'anna'")


@deed("change or delete a version", None)
def _delete(team: Team, store: Store, user: str) -> object:
    return team.execute(user, f"DELETE FROM {team.schema}.versions")


@deed("change the tables", None)
def _alter(team: Team, store: Store, user: str) -> object:
    return team.execute(user, f"ALTER TABLE {team.schema}.ledger DISABLE ROW LEVEL SECURITY")


@functools.cache
def _team() -> Team:
    return Team(Path(tempfile.mkdtemp(prefix="mlreg-roles-")))


def outcome(team: Team, what: str, user: str) -> str:
    """`yes`, or the message of the refusal; any other error is a failure."""
    function = _DEEDS[what][1]
    try:
        function(team, team.store(user), user)
    except RefusedError as error:
        assert error.exit_status == 9
        return f"{error.what} {error.remedy} {error.command}"
    except MlregError as error:
        raise AssertionError(f"{user}: {error.what}") from error
    return "yes"


INCLUDED = {
    READER: {READER, TRAINER, PROMOTER, KEEPER},
    WRITER: {TRAINER, PROMOTER, KEEPER},
    TRAINER: {TRAINER, KEEPER},
    PROMOTER: {PROMOTER, KEEPER},
    KEEPER: {KEEPER},
    "": set(),
}


@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.parametrize("what", _DEEDS)
def test_each_role_does_what_it_may_and_is_refused_the_rest(what):
    """A refusal is status 9 and names the role that may."""
    needs = _DEEDS[what][0]
    team = _team()
    for user, role in USERS.items():
        told = outcome(team, what, user)
        assert (told == "yes") == (role in INCLUDED[needs]), (user, told)
        if told != "yes" and not told.startswith("PostgreSQL: "):
            named = READER if role is None else TRAINER if needs == WRITER else needs
            assert f"The role {named} may" in told, (user, told)


@pytest.mark.gate
@pytest.mark.processes
def test_the_registry_is_whole_after_what_was_refused():
    """Every row of the ledger has the name of the database's user."""
    team = _team()
    outcome(team, "tag", "pia")
    assert audit(team.owner).problems == []
    names = {row.who for row in team.owner.ledger()}
    assert names <= {team.user(user) for user in ("postgres", *USERS)}


@pytest.mark.gate
@pytest.mark.processes
def test_a_refusal_names_what_was_typed():
    """Not what mlreg does for it: a request that the checks refuse, a signature, a copy."""
    team = _team()
    version, rita = team.version(), team.store("rita")
    refused, asked = LedgerAction.REFUSED, LedgerAction.REQUESTED
    with pytest.raises(RefusedError, match="may not ask for promotions") as told:
        rita.note(refused, version.model, version.version, "production", needs=asked)
    assert f"recording that {version.ref} was refused" in told.value.what
    assert "The role mlreg_trainer may" in told.value.remedy
    assert told.value.command == f"psql postgres -c 'GRANT {TRAINER} TO {team.user('rita')}'"
    with pytest.raises(
        RefusedError, match=f"may not sign versions .*, while signing {version.ref}"
    ):
        rita.signatures.add(version, b"signature", b"key")
    remote = Registry(RegistryPlace(rita.folder, "", team.url_of("rita"), team.objects), Settings())
    with pytest.raises(RefusedError, match=r"may not register versions .*, while copying dummy@1"):
        team.elsewhere.push(["dummy@1"], remote, examine=lambda file, custom: None)


@pytest.mark.gate
@pytest.mark.processes
def test_the_grants_can_be_run_again():
    """After an upgrade, for the tables that it added."""
    team = _team()
    with postgresql().connect() as connection:
        connection.execute(grants(team.schema))
    assert outcome(team, "tag", "pia") == "yes"


def test_the_page_has_the_table_that_the_tests_hold():
    """Each cell of it is tried above."""
    assert f"{_BEGIN}\n{table()}{_END}" in PAGE.read_text("utf-8")


_BEGIN, _END = "<!-- roles: written by tests/store/test_roles.py -->", "<!-- end of roles -->"


def table() -> str:
    """The table of docs/team.md, by the rules that the tests hold."""
    heads = ["reader", "trainer", "promoter", "keeper"]
    rows = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for what, (needs, _) in _DEEDS.items():
        cells = ["yes" if f"mlreg_{head}" in INCLUDED[needs] else "–" for head in heads]
        rows.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}\n{table()}{_END}{after}", "utf-8")
