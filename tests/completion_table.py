"""Lines, and what completes their last words; and the registry in which they are typed."""

from __future__ import annotations

from pathlib import Path

from cli_helpers import fill, stop
from fakes import write_project

from registry_core.records import LedgerAction

REFERENCES = ["flowers@production", "flowers@latest", "flowers@best", "flowers@3", "flowers@2"]
SELECTORS = ["production", "latest", "best", "3", "2"]
SETTINGS = ["epochs=", "batch_size=", "seed=", "deterministic=", "precision="]
SETTINGS += ["learning_rate=", "units="]
SORT_KEYS = ["test_accuracy", "test_loss", "version", "created", "seed", "preset", "dataset"]
SORT_KEYS += [f"-{key}" for key in SORT_KEYS]
FORMATS = ["keras", "h5", "savedmodel", "onnx", "litert", "hub", "figures", "files"]
SPLITS = ["test", "validation", "train"]

# an empty list means that nothing is completed, not even files
COMPLETED: list[tuple[str, list[str]]] = [
    ("mlreg res", ["resume", "restore"]),
    ("mlreg da", ["data"]),
    ("mlreg data ", ["fetch", "verify", "path"]),
    ("mlreg plugins li", ["list"]),
    ("mlreg plugins show ", ["cifar10", "flowers"]),
    ("mlreg plugins check fl", ["flowers"]),
    ("mlreg plugins check flowers --preset q", ["quick"]),
    ("mlreg plugins check flowers -p ep", ["epochs="]),
    ("mlreg plugins check flowers --data-dir so", ["sound.keras"]),
    ("mlreg plugins check flowers --expect prints", ["prints-nothing="]),
    ("mlreg plugins new leaves --kind t", ["table", "text"]),
    ("mlreg plugins new leaves --into reg", ["registry"]),
    ("mlreg init reg", ["registry"]),
    ("mlreg registry ", ["init", "grants"]),
    ("mlreg run --pr", ["--preset", "--print-config"]),
    ("mlreg run ", ["cifar10", "flowers"]),
    ("mlreg run flowers --preset ", ["baseline", "quick"]),
    ("mlreg run flowers --preset=q", ["quick"]),
    ("mlreg run flowers -p ", SETTINGS),
    ("mlreg run flowers -p ep", ["epochs="]),
    ("mlreg run flowers --preset quick -p epochs=", ["epochs=1"]),
    ("mlreg run flowers -p deterministic=", ["deterministic=true", "deterministic=false"]),
    ("mlreg run flowers --name ", ["flowers", "trees", "cifar10"]),
    ("mlreg run flowers --from fl", REFERENCES),
    ("mlreg run flowers --data-dir so", ["sound.keras"]),
    ("mlreg run flowers --epochs ", []),
    ("mlreg sweep fl", ["flowers"]),
    ("mlreg sweep flowers --preset ", ["baseline", "quick"]),
    ("mlreg sweep flowers -p un", ["units="]),
    ("mlreg sweep flowers --sampler ", ["tpe", "random", "grid"]),
    ("mlreg sweep flowers --prune ", ["median", "hyperband"]),
    ("mlreg sweep flowers --name tr", ["trees"]),
    ("mlreg sweep flowers --on r", ["ray"]),
    ("mlreg sweep flowers --from fl", REFERENCES),
    ("mlreg sweep flowers --data-dir so", ["sound.keras"]),
    ("mlreg run flowers --on ", ["local", "ray"]),
    ("mlreg reproduce flowers@2 --on r", ["ray"]),
    ("mlreg runs --discard ", []),  # filled by name_runs
    ("mlreg sweeps --discard ", []),  # there is none
    ("mlreg resume ", []),  # filled by name_runs
    ("mlreg resume --data-dir so", ["sound.keras"]),
    ("mlreg resume --on r", ["ray"]),
    ("mlreg run flowers --tensorboard reg", ["registry"]),
    ("mlreg resume --tensorboard reg", ["registry"]),
    ("mlreg reproduce fl", REFERENCES),
    ("mlreg reproduce flowers@2 -p un", ["units="]),
    ("mlreg reproduce flowers@2 --data-dir so", ["sound.keras"]),
    ("mlreg list ", ["flowers", "trees"]),
    ("mlreg list flowers --tag ", ["data=clean", "reviewed"]),
    ("mlreg list flowers --where te", ["test_accuracy", "test_loss"]),
    ("mlreg list flowers --where pre", ["preset="]),
    ("mlreg list flowers --where preset=", ["preset=baseline"]),
    ("mlreg list flowers --where tag:", ["tag:data=clean", "tag:reviewed"]),
    ("mlreg list flowers --sort ", SORT_KEYS),
    ("mlreg list flowers --sort -test_l", ["-test_loss"]),
    ("mlreg list --registry reg", ["registry"]),
    ("mlreg --registry reg", ["registry"]),
    ("mlreg show ", ["flowers", "trees"]),
    ("mlreg show flowers@", REFERENCES),
    ("mlreg show flowers@p", ["flowers@production"]),
    ("mlreg show flowers ", SELECTORS),
    ("mlreg --registry registry show flowers@p", ["flowers@production"]),
    ("mlreg show flowers@2 ", []),
    ("mlreg compare flowers@2 trees@", ["trees@latest", "trees@best", "trees@1"]),
    ("mlreg compare flowers 2 flowers pro", ["production"]),
    ("mlreg report flowers@", REFERENCES),
    ("mlreg report flowers@2 trees@", ["trees@latest", "trees@best", "trees@1"]),
    ("mlreg report flowers@2 -o so", ["sound.keras"]),
    ("mlreg report flowers@2 --output=so", ["sound.keras"]),
    ("mlreg history flowers@", REFERENCES),
    ("mlreg promote flowers@", REFERENCES),
    ("mlreg promote flowers@2 ", ["production", "staging"]),
    ("mlreg promote flowers 2 s", ["staging"]),
    ("mlreg promote flowers@2 staging --member flowers@", REFERENCES),
    ("mlreg rollback fl", ["flowers@production"]),
    ("mlreg rollback flowers ", ["production"]),
    ("mlreg alias ", ["flowers", "trees"]),
    ("mlreg alias flowers@", ["flowers@production"]),
    ("mlreg rules ", ["list", "set", "remove", "sync"]),
    ("mlreg rules set p", ["production"]),
    ("mlreg rules set production --floor ", ["test_accuracy=", "test_loss="]),
    ("mlreg rules set production --ceiling ", ["test_accuracy=", "test_loss="]),
    ("mlreg rules set production --versus ", ["not-worse", "better", "off"]),
    ("mlreg rules set production --requires s", ["staging"]),
    ("mlreg rules remove ", ["production", "staging"]),
    ("mlreg approve ", ["8"]),
    ("mlreg decline ", ["8"]),
    ("mlreg tag flowers@", REFERENCES),
    ("mlreg tag flowers@2 ", ["data=clean", "reviewed"]),
    ("mlreg tag flowers@2 --remove ", ["data", "reviewed"]),
    ("mlreg export flowers@", REFERENCES),
    ("mlreg export flowers@2 --format ", FORMATS),
    ("mlreg export flowers@2 --format=sa", ["savedmodel"]),
    ("mlreg export flowers@2 -o so", ["sound.keras"]),
    ("mlreg export flowers@2 --output=so", ["sound.keras"]),
    ("mlreg export flowers@2 --data-dir so", ["sound.keras"]),
    ("mlreg import ", ["cifar10", "flowers"]),
    ("mlreg import flowers so", ["sound.keras"]),
    ("mlreg import flowers sound.keras --preset ", ["baseline", "quick"]),
    ("mlreg import flowers sound.keras --name tr", ["trees"]),
    ("mlreg import flowers sound.keras --data-dir so", ["sound.keras"]),
    ("mlreg evaluate flowers@", REFERENCES),
    ("mlreg evaluate flowers@2 --split ", SPLITS),
    ("mlreg evaluate flowers@2 --data-dir so", ["sound.keras"]),
    ("mlreg predict flowers@", REFERENCES),
    ("mlreg predict flowers pro", ["production"]),
    ("mlreg predict flowers@2 so", ["sound.keras"]),
    ("mlreg predict flowers 2 so", ["sound.keras"]),
    ("mlreg predict flowers so", ["sound.keras"]),
    ("mlreg predict flowers@2 sound.keras --review so", ["sound.keras"]),
    ("mlreg card flowers@", REFERENCES),
    ("mlreg card flowers@2 -o so", ["sound.keras"]),
    ("mlreg bom flowers@", REFERENCES),
    ("mlreg bom flowers@2 --output=so", ["sound.keras"]),
    ("mlreg push flowers@", REFERENCES),
    ("mlreg push flowers@2 te", ["team"]),
    ("mlreg push flowers@2 reg", ["registry"]),
    ("mlreg push --all ", ["flowers", "trees", "team"]),
    ("mlreg push flowers@2 team --name tr", ["trees"]),
    ("mlreg pull flowers@", REFERENCES),
    ("mlreg pull flowers@2 te", ["team"]),
    ("mlreg pull flowers@2 so", ["sound.keras"]),
    ("mlreg pull flowers@2 team --name tr", ["trees"]),
    ("mlreg pack flowers@", REFERENCES),
    ("mlreg pack flowers@2 -o so", ["sound.keras"]),
    ("mlreg pack flowers@2 --output=so", ["sound.keras"]),
    ("mlreg unpack so", ["sound.keras"]),
    ("mlreg unpack sound.keras --name tr", ["trees"]),
    ("mlreg rm flowers@", REFERENCES),
    ("mlreg restore ", ["flowers@1"]),
    ("mlreg sign flowers@", REFERENCES),
    ("mlreg sign flowers@2 --key so", ["sound.keras"]),
    ("mlreg verify flowers@", REFERENCES),
    ("mlreg verify flowers@2 --key so", ["sound.keras"]),
    ("mlreg rules set production --signed-by so", ["sound.keras"]),
    ("mlreg data fetch ", ["cifar10", "flowers"]),
    ("mlreg data fetch cifar10 --data-dir so", ["sound.keras"]),
    ("mlreg data verify ", ["cifar10", "flowers"]),
    ("mlreg data verify cifar10 --data-dir so", ["sound.keras"]),
    ("mlreg data path ", ["cifar10", "flowers"]),
    ("mlreg data path cifar10 --data-dir so", ["sound.keras"]),
    ("mlreg ui --o", ["--open"]),
    ("mlreg help rep", ["reproduce", "report"]),
    ("mlreg help data ", ["fetch", "verify", "path"]),
]


def make_project(folder: Path) -> None:
    """Two models, an alias, tags, a removed version, two stopped runs, a plugin, a model file."""
    write_project(folder)
    with (folder / "plugins.toml").open("a") as settings:
        settings.write('[registry]\npath = "registry"\n[remotes.team]\npath = "shared"\n')
    store = fill(folder / "registry", 0.5, 0.6, 0.7, dataset="flowers")
    fill(folder / "registry", 0.5, model="trees")
    _, second, first = store.versions("flowers")
    store.move_alias(second, "production", "", {}, holder=None)
    store.tag(second, {"data": "clean", "reviewed": ""}, [], "")
    store.removals.remove(first, 0)
    store.note(LedgerAction.REQUESTED, "flowers", 2, "staging")
    runs = sorted((stop(store), stop(store)), reverse=True)
    for words in (words for line, words in COMPLETED if line in STOPPED_RUNS):
        words[:] = runs
    (folder / "sound.keras").touch()


# The words of these lines are the ids of stopped runs, which the project decides.
STOPPED_RUNS = ("mlreg runs --discard ", "mlreg resume ")
