"""What became different between two records of how something was trained."""

import copy

import pytest
from lifecycle_helpers import RECORD

from registry_core.lifecycle.record_diff import RecordChange, changed_since


def changed(*path, value):
    """The record with one value replaced; None takes it away."""
    record = copy.deepcopy(RECORD)
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return record


def test_a_record_has_not_drifted_from_itself():
    assert changed_since(RECORD, copy.deepcopy(RECORD)) == []


def test_the_order_of_keys_in_a_setting_is_no_drift():
    """A manifest sorts them, and a configuration does not."""
    then, now = (
        changed("config", "inner", value={"rates": [inner], **more})
        for inner, more in (({"a": 1, "b": 2}, {"z": 1}), ({"b": 2, "a": 1}, {}))
    )
    assert [drift.what for drift in changed_since(then, now)] == ["inner"]
    now["config"]["inner"] = {"z": 1, "rates": [{"b": 2, "a": 1}]}
    assert changed_since(then, now) == []


def test_a_record_from_before_a_setting_of_the_host_has_its_default():
    """`precision` came later: what ran was float32."""
    (drift,) = changed_since(RECORD, changed("config", "precision", value="mixed_bfloat16"))
    assert str(drift) == "setting precision: mixed_bfloat16, was float32"
    assert changed_since(RECORD, changed("config", "precision", value="float32")) == []


def test_where_it_came_from_and_the_commit_are_no_drift():
    """The bytes are what counts, and the code has a digest of its own."""
    assert changed_since(RECORD, changed("data", "source", value="a mirror")) == []
    assert changed_since(RECORD, changed("environment", "git", value={"commit": "c"})) == []


@pytest.mark.parametrize(
    ("path", "value", "kind", "what", "then", "now"),
    [
        (("config", "learning_rate"), 0.2, "setting", "learning_rate", "0.1", "0.2"),
        (("config", "shape"), [2, 4], "setting", "shape", "[2, 3]", "[2, 4]"),
        (("config", "warmup"), 5, "setting", "warmup", "nothing", "5"),
        (("config", "epochs"), None, "setting", "epochs", "3", "nothing"),
        (("data", "splits", "train", "examples"), 29, "data", "train split",
         "30,000 examples, sha256:aaaaaaaaaaaa", "29 examples, sha256:aaaaaaaaaaaa"),
        (("data", "splits", "train", "fingerprint"), "sha256:" + "b" * 64, "data", "train split",
         "30,000 examples, sha256:aaaaaaaaaaaa", "30,000 examples, sha256:bbbbbbbbbbbb"),
        (("data", "splits", "test", "fingerprint"), "numbers of 2026-01-01, other half", "data",
         "test split", "12 examples, numbers of 2026-01-01, first half",
         "12 examples, numbers of 2026-01-01, other half"),
        (("data", "splits", "test"), None, "data", "test split",
         "12 examples, numbers of 2026-01-01, first half", "nothing"),
        (("plugins", 0, "code_sha256"), "2" * 64, "plugin", "flowers",
         "flowers_plugin, code 111111111111", "flowers_plugin, code 222222222222"),
        (("plugins", 0, "distribution"), "flowers 1.1", "plugin", "flowers",
         "flowers_plugin, code 111111111111", "flowers 1.1, code 111111111111"),
        (("environment", "keras"), "3.13", "library", "keras", "3.12", "3.13"),
        (("environment", "numpy"), "2.0", "library", "numpy", "nothing", "2.0"),
        (("environment", "device"), "H100", "hardware", "device", "x86_64", "H100"),
        (("environment", "cpus"), 4, "hardware", "cpus", "2", "4"),
        (("environment", "deterministic"), False, "determinism", "deterministic", "True", "False"),
    ],
)  # fmt: skip
def test_what_changed_is_named_with_what_it_was_and_is(path, value, kind, what, then, now):
    """One thing changed, and it alone is named."""
    (drift,) = changed_since(RECORD, changed(*path, value=value))
    assert drift == RecordChange(kind, what, then, now)
    assert str(drift) == f"{kind} {what}: {now}, was {then}"
    assert drift.to_json() == {"kind": kind, "what": what, "then": then, "now": now}


def test_an_extension_that_came_or_went_is_drift():
    more = [*RECORD["plugins"], {**RECORD["plugins"][0], "name": "flip"}]
    (came,) = changed_since(RECORD, changed("plugins", value=more))
    (went,) = changed_since(changed("plugins", value=more), RECORD)
    assert (came.what, came.then) == (went.what, went.now) == ("flip", "nothing")


def test_settings_come_first_then_data_code_libraries_and_hardware():
    """In the order in which a person would look for the cause."""
    now = copy.deepcopy(RECORD)
    now["environment"] |= {"cpus": 4, "deterministic": False, "keras": "3.13"}
    now["plugins"][0]["code_sha256"] = "2" * 64
    now["data"]["splits"]["test"]["examples"] = 13
    now["config"]["epochs"] = 4
    assert [drift.kind for drift in changed_since(RECORD, now)] == [
        "setting", "data", "plugin", "library", "hardware", "determinism",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "then", "now", "said"),
    [
        ("processor", "AMD EPYC, family 25, model 17, avx512_bf16", "AMD EPYC, family 23, model 49",
         "trained on AMD EPYC, family 25, model 17, avx512_bf16; this machine has AMD EPYC, "
         "family 23, model 49"),
        ("vector_instructions", ["avx", "avx512f", "avx512vl"], ["avx"],
         "trained with the vector instructions avx512f, avx512vl, which this machine does not "
         "have"),
        ("vector_instructions", ["avx"], ["avx", "avx2"],
         "trained without the vector instructions avx2, which this machine has"),
        ("vector_instructions", ["avx", "avx2"], ["asimd", "sve"],
         "trained with the vector instructions avx, avx2, which this machine does not have; it has "
         "asimd, sve instead"),
    ],
)  # fmt: skip
def test_another_processor_is_named_in_plain_words(key, then, now, said):
    """The same name trains bit-differently one generation on."""
    records = [copy.deepcopy(RECORD) for _ in range(2)]
    records[0]["environment"][key], records[1]["environment"][key] = then, now
    (change,) = changed_since(*records)
    assert (change.kind, change.what, str(change)) == ("hardware", key, said)
    assert changed_since(RECORD, records[1]) == []  # an older record does not say
