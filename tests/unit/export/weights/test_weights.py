import argparse
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import models as torchvision_models
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from convoy.export.errors import DataError, ExportError, WeightsError
from convoy.export.weights import FileOptions, find_weights, head_names, load_into
from convoy.export.weights.state_dict import count_classes
from convoy.models import ARCHITECTURES


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, ThreadingHTTPServer]]:
    """A folder that is served on this machine, and an empty cache of PyTorch's."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "cache"))
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights that torchvision's own ResNet-18 has, at random."""
    torch.manual_seed(0)
    return torchvision_models.resnet18().state_dict()


def publish(
    mirror: tuple[Path, ThreadingHTTPServer],
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    damaged: bool = False,
) -> None:
    """Let torchvision's entry for ResNet-18 point to the mirror."""
    folder, server = mirror
    path = folder / "weights"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    if damaged:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    path = path.rename(folder / f"resnet18-{digest}.pth")
    url = f"http://127.0.0.1:{server.server_port}/{path.name}"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)


def test_torchvision_download(
    mirror: tuple[Path, ThreadingHTTPServer],
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    An entry comes with its weights, preprocessing, labels, and its published accuracy.
    """
    publish(mirror, state, monkeypatch)
    found = find_weights("resnet18", "torchvision:IMAGENET1K_V1")
    network = ARCHITECTURES["resnet18"].build(num_classes=1000)
    load_into(network, found.state, found.source)
    assert torch.equal(network.state_dict()["fc.weight"], state["fc.weight"])
    assert (found.preprocessing.resize_px, found.preprocessing.height) == (256, 224)
    assert (found.mean[0], found.std[0]) == (0.485, 0.229)
    assert (found.labels[0], found.labels[-1]) == ("tench", "toilet tissue")
    assert found.evaluation is not None
    assert (found.evaluation.top1, found.evaluation.top5) == (0.69758, 0.89078)
    assert found.evaluation.images == 50_000
    assert found.evaluation.publisher == "torchvision"
    assert str(found.evaluation.reference).startswith("https://github.com/pytorch/")
    assert "IMAGENET1K_V1" in found.source
    assert found.sha256 is not None
    assert f"-{found.sha256[:8]}.pth" in found.source


def test_torchvision_at_another_size(
    mirror: tuple[Path, ThreadingHTTPServer],
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Public weights take images of the user's size, resized in proportion, and the accuracy that was
    published for another size is left out.
    """
    publish(mirror, state, monkeypatch)
    source = "torchvision:IMAGENET1K_V1"
    found = find_weights("resnet18", source, FileOptions(input_px=112))
    assert (found.preprocessing.resize_px, found.preprocessing.height) == (128, 112)
    assert found.evaluation is None
    same = find_weights("resnet18", source, FileOptions(input_px=224))
    assert same.evaluation is not None
    with pytest.raises(WeightsError, match="takes images of 32 x 32 pixels or more"):
        find_weights("resnet18", source, FileOptions(input_px=31))


def test_damaged_download(
    mirror: tuple[Path, ThreadingHTTPServer],
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A file whose hash is not that of its name is refused.
    """
    publish(mirror, state, monkeypatch, damaged=True)
    with pytest.raises(WeightsError, match="invalid hash value"):
        find_weights("resnet18", "torchvision")


def test_download_that_fails(
    mirror: tuple[Path, ThreadingHTTPServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A download that fails names its address.
    """
    url = f"http://127.0.0.1:{mirror[1].server_port}/gone-00000000.pth"
    monkeypatch.setattr(ResNet50_Weights.IMAGENET1K_V1.value, "url", url)
    with pytest.raises(WeightsError, match=r"cannot download http.*gone.*404"):
        find_weights("resnet50", "torchvision:IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("architecture", "weights", "message"),
    [
        ("alexnet", "torchvision", "is another network: export alexnet_owt"),
        ("googlenet", "torchvision", "is another network: export googlenet_tv"),
        ("resnet50_v1", "torchvision", "the stride on the 3x3: export resnet50"),
        ("nin", "torchvision", "torchvision has no weights for nin"),
        ("resnet50", "torchvision:V3", "expected one of IMAGENET1K_V1, IMAGENET1K_V2"),
        ("vgg16", "torchvision:IMAGENET1K_FEATURES", "has no classifier"),
        ("lenet5", "timm", "timm has no weights for lenet5"),
        ("inception_v4", "timm:tf_in22k", "expected one of inception_v4.tf_in1k"),
        ("resnet18", "no/such/file.pth", "cannot read the weights no/such/file.pth"),
    ],
)
def test_weights_that_there_are_not(architecture: str, weights: str, message: str) -> None:
    """
    Each mistake has an answer that helps.
    """
    with pytest.raises(WeightsError, match=message):
        find_weights(architecture, weights)


def test_file(tmp_path: Path) -> None:
    """
    A file needs its labels, unless it is of 1,000 classes; its hash is kept.
    """
    torch.save(ARCHITECTURES["resnet20"].build(num_classes=3).state_dict(), tmp_path / "w.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\nfrog\n")
    found = find_weights(
        "resnet20", str(tmp_path / "w.pth"), FileOptions(labels=tmp_path / "labels.txt")
    )
    assert found.labels == ("cat", "dog", "frog")
    assert found.sha256 == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    assert found.source == "w.pth"
    assert found.evaluation is None
    found = find_weights("resnet20", str(tmp_path / "w.pth"))
    assert found.labels == ("class 0", "class 1", "class 2")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(WeightsError, match="2 labels, and the weights 3 classes"):
        find_weights(
            "resnet20", str(tmp_path / "w.pth"), FileOptions(labels=tmp_path / "labels.txt")
        )
    with pytest.raises(DataError, match="cannot read the labels"):
        find_weights("resnet20", str(tmp_path / "w.pth"), FileOptions(labels=tmp_path / "none.txt"))


class Evil:
    """An object that unpickles into a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": Evil()}, "that is safe to load: it contains print, .*"),
        (torch.nn.Linear(1, 1), r"contains torch\.nn\.modules\.linear\.Linear, .*"),
        ([1, 2], ".*also not within a checkpoint; .*"),
        ({"epoch": 3}, ".*also not within a checkpoint; .*"),
    ],
)
def test_file_that_is_no_state_dict(
    tmp_path: Path, content: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Nothing but plain data is loaded; code in a file is never run, and the remedy is named.
    """
    torch.save(content, tmp_path / "evil.pth")
    expected = rf"evil\.pth holds no state dict.*{message}save torch\.save\(model\.state_dict\(\)"
    with pytest.raises(WeightsError, match=expected) as caught:
        find_weights("resnet20", str(tmp_path / "evil.pth"))
    assert "\n" not in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    """
    Bytes that PyTorch did not write are refused in one line.
    """
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match="it is damaged, or not a PyTorch file"):
            find_weights("resnet20", str(tmp_path / name))


State = dict[str, torch.Tensor]


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def other(state: State) -> State:
    """Weights of the same names and other values."""
    return {key: value + 1 for key, value in state.items()}


ARGUMENTS = argparse.Namespace(lr=0.1, output=Path("runs"), best=np.float64(0.5))

CHECKPOINTS: dict[str, tuple[Callable[[State], object], str]] = {
    "state_dict": (lambda s: {"epoch": 3, "state_dict": s, "args": ARGUMENTS}, "state_dict"),
    "model": (lambda s: {"model": s, "optimizer": {"state": {0: {"m": s}}}}, "model"),
    "beside other values": (lambda s: {**s, "epoch": 3, "args": ARGUMENTS}, ""),
    "DataParallel": (lambda s: prefixed("module.", s), "module"),
    "torch.compile": (lambda s: prefixed("_orig_mod.", s), ""),
    "compiled and parallel": (
        lambda s: {"model": prefixed("module._orig_mod.", s)},
        "model.module",
    ),
    "compiled blocks": (
        lambda s: {k.replace("bn1.", "_orig_mod.bn1."): v for k, v in s.items()},
        "",
    ),
    "Lightning": (
        lambda s: {"state_dict": {**prefixed("net.", s), "criterion.weight": torch.ones(3)}},
        "state_dict.net",
    ),
    "timm's average": (
        lambda s: {"state_dict": other(s), "state_dict_ema": s, "metric": np.float64(0.5)},
        "state_dict_ema",
    ),
    "torchvision's average": (
        lambda s: {
            "model": other(s),
            "model_ema": {**prefixed("module.", s), "n_averaged": torch.tensor(7)},
            "args": ARGUMENTS,
        },
        "model_ema.module",
    ),
    "average beside the weights": (
        lambda s: {**prefixed("model.", other(s)), **prefixed("ema_model.", s)},
        "ema_model",
    ),
    "average in a network": (
        lambda s: {"model": prefixed("online.", other(s)) | prefixed("ema.module.", s)},
        "model.ema.module",
    ),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
@pytest.mark.parametrize("is_legacy", [False, True])
def test_checkpoints(tmp_path: Path, kind: str, is_legacy: bool) -> None:
    """
    The weights are found wherever a training puts them, and a moving average comes first.
    """
    state = ARCHITECTURES["resnet20"].build(num_classes=3).state_dict()
    make, place = CHECKPOINTS[kind]
    path = tmp_path / "w.pth"
    torch.save(make(state), path, _use_new_zipfile_serialization=not is_legacy)
    found = find_weights("resnet20", str(path))
    assert found.source == (f"w.pth, {place}" if place else "w.pth")
    network = ARCHITECTURES["resnet20"].build(num_classes=3)
    load_into(network, found.state, found.source)
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if "num_batches" not in key)


def test_safetensors(tmp_path: Path) -> None:
    """
    A file of safetensors is read as it is.
    """
    safetensors = pytest.importorskip("safetensors.torch")
    state = ARCHITECTURES["resnet20"].build(num_classes=3).state_dict()
    safetensors.save_file(prefixed("model.", state), tmp_path / "w.safetensors")
    found = find_weights("resnet20", str(tmp_path / "w.safetensors"))
    assert torch.equal(found.state["conv1.weight"], state["conv1.weight"])


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    """
    A weight that does not fit is named by the names that are within the checkpoint.
    """
    state = ARCHITECTURES["resnet20"].build(num_classes=3).state_dict()
    torch.save({"model": prefixed("module.", state)}, tmp_path / "w.pth")
    found = find_weights("resnet18", str(tmp_path / "w.pth"))
    network = ARCHITECTURES["resnet18"].build(num_classes=3)
    with pytest.raises(WeightsError, match=r"w\.pth, model\.module does not .*: missing: layer"):
        load_into(network, found.state, found.source)
    missing = {key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}
    torch.save({"model": prefixed("module.", missing)}, tmp_path / "w.pth")
    found = find_weights("resnet20", str(tmp_path / "w.pth"))
    network = ARCHITECTURES["resnet20"].build(num_classes=3)
    with pytest.raises(WeightsError, match=r"w\.pth, model\.module does not .*: missing: layer"):
        load_into(network, found.state, found.source)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ({"input_px": 112}, (128, 112, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ({"input_px": 96, "resize_px": 96}, (96, 96, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ({"mean": (0.5,), "std": (0.25, 0.5, 0.125)}, (256, 224, (0.5,) * 3, (0.25, 0.5, 0.125))),
    ],
)
def test_options_of_a_file(tmp_path: Path, options: dict[str, Any], expected: object) -> None:
    """
    Sizes and normalisation are the user's, else those of the network's recipe.
    """
    torch.save(ARCHITECTURES["resnet18"].build(num_classes=3).state_dict(), tmp_path / "w.pth")
    found = find_weights("resnet18", str(tmp_path / "w.pth"), FileOptions(**options))
    spec = found.preprocessing
    assert (spec.resize_px, spec.height, found.mean, found.std) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize_px": 223}, "--resize 223 is smaller than the crop, 224"),
        ({"input_px": 31}, "resnet18 takes images of 32 x 32 pixels or more"),
        ({"mean": (0.5, 0.5)}, "--mean has 2 numbers, and the images 3 channels"),
        ({"mean": (123.675,), "std": (58.395,)}, "cannot be meant for pixels of 0 to 1"),
    ],
)
def test_options_that_do_not_fit_a_file(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """
    Options that contradict the network are refused by name.
    """
    torch.save(ARCHITECTURES["resnet18"].build(num_classes=3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ExportError, match=message):
        find_weights("resnet18", str(tmp_path / "w.pth"), FileOptions(**options))


def test_wrong_keys_and_shapes_are_named(state: dict[str, torch.Tensor]) -> None:
    """
    The error names a few keys of each kind that do not fit, and nothing is loaded.
    """
    network = ARCHITECTURES["resnet18"].build(num_classes=5)
    before = network.state_dict()["conv1.weight"].clone()
    changed = {("stem" + key if key.startswith("bn1") else key): t for key, t in state.items()}
    with pytest.raises(WeightsError) as error:
        load_into(network, changed, "weights.pth")
    message = str(error.value)
    assert message.startswith("weights.pth does not fit the network: missing: bn1.weight")
    assert "unknown: stembn1.weight, stembn1.bias, stembn1.running_mean and 2 more" in message
    assert "fc.weight [1000, 512], wanted [5, 512]" in message
    assert torch.equal(network.state_dict()["conv1.weight"], before)


def test_files_older_than_the_counter_of_batches(state: dict[str, torch.Tensor]) -> None:
    """
    Files from before PyTorch counted batches load.
    """
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    load_into(ARCHITECTURES["resnet18"].build(num_classes=1000), old, "old.pth")


def test_weights_of_one_stride_do_not_become_the_other() -> None:
    """
    ResNet v1 and v1.5 have the same layers; their files tell them apart.
    """
    v1, later = (ARCHITECTURES[name].build(num_classes=2) for name in ("resnet50_v1", "resnet50"))
    with pytest.raises(WeightsError, match="missing: stride_on_1x1"):
        load_into(v1, later.state_dict(), "v1.5")
    with pytest.raises(WeightsError, match="unknown: stride_on_1x1"):
        load_into(later, v1.state_dict(), "v1")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_head(name: str) -> None:
    """
    The head is what depends on the number of classes: one layer, and one for each head that
    exists for training only; in BN-NIN its batch norm, too.
    """
    layers = {"googlenet": 3, "googlenet_tv": 3, "inception_v3": 2, "bn_nin": 2}
    assert len({key.rpartition(".")[0] for key in head_names(name)}) == layers.get(name, 1)
    with torch.device("meta"):
        state = ARCHITECTURES[name].build(num_classes=7).state_dict()
    assert count_classes(name, state, "weights") == 7


def test_new_head_keeps_the_body(state: dict[str, torch.Tensor]) -> None:
    """
    With a new head the rest is the file's, and the head is the network's own.
    """
    network = ARCHITECTURES["resnet18"].build(num_classes=4)
    own = network.state_dict()["fc.weight"].clone()
    load_into(network, state, "weights", new=head_names("resnet18"))
    assert torch.equal(network.state_dict()["fc.weight"], own)
    assert torch.equal(network.state_dict()["layer4.1.bn2.bias"], state["layer4.1.bn2.bias"])
