import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convoy.export.data.digits import load_digits
from convoy.export.data.split import Split
from convoy.export.errors import TrainingError
from convoy.export.recipes import SMALL, Recipe
from convoy.export.training.batches import KeptBatches
from convoy.export.training.compute import CPU, Compute, joined
from convoy.export.training.epoch_log import METRICS_FILE, Epoch, read_metrics
from convoy.export.training.run_folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CURVES_FILE,
    LAST_FILE,
    Run,
    locked,
)
from convoy.export.training.trained_network import balanced_weights
from convoy.export.training.trainer import Step, Validate, freeze_except, train
from convoy.export.training.validation import Validation
from convoy.models import ARCHITECTURES

RECIPE = dataclasses.replace(SMALL["lenet5"], epochs=3, batch_size=16)
BFLOAT16 = Compute(device=torch.device("cpu"), autocast=torch.bfloat16)


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """Horizontal or vertical stripes with noise: a task that a network learns in moments."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    pixels = torch.randint(0, 60, (count, 32, 32, 1), generator=random, dtype=torch.uint8)
    pixels[labels == 0, ::4] = 250
    pixels[labels == 1, :, ::4] = 250
    return pixels, labels


class Headed(nn.Module):
    """LeNet-5 with dropout and a second head in training."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ARCHITECTURES["lenet5"].build(num_classes=16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16, 2)
        self.auxiliary = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.dropout(self.norm(self.body(x)))
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


def fit(
    folder: Path,
    seed: int = 0,
    recipe: Recipe = RECIPE,
    network: nn.Module | None = None,
    compute: Compute = CPU,
    stop_in: int | None = None,
    validate: Validate | None = None,
    class_weights: Tensor | None = None,
) -> tuple[nn.Module, list[Step], Run]:
    """Train on stripes; Ctrl-C comes in the middle of the epoch *stop_in*."""
    torch.manual_seed(seed)
    network = network or Headed()
    steps: list[Step] = []

    class Stopping:
        def step(self, step: Step) -> None:
            steps.append(step)
            if step.epoch == stop_in and step.done % 8 == 4:
                raise KeyboardInterrupt

        def epoch(self, epochs: Sequence[Epoch]) -> None:
            assert epochs[-1].epoch == steps[-1].epoch

    run = Run(folder, {"seed": seed}, f"seed {seed}")
    batches = KeptBatches(*stripes(128), recipe, seed, compute)
    train(
        network,
        batches,
        recipe,
        seed=seed,
        compute=compute,
        run=run,
        listener=Stopping(),
        validate=validate,
        class_weights=class_weights,
    )
    return network, steps, run


def test_learns_and_reports(tmp_path: Path) -> None:
    """
    The loss falls, each step is reported, and the network is left in evaluation mode.
    """
    network, steps, _ = fit(tmp_path)
    assert [step.done for step in steps] == list(range(1, 25))
    assert {step.total for step in steps} == {24}
    assert (steps[0].epoch, steps[-1].epoch) == (1, 3)
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].accuracy > 0.9
    assert not network.training


def test_same_seed_same_weights(tmp_path: Path) -> None:
    """
    A training can be repeated; another seed gives another one.
    """
    first, second, other = (
        fit(tmp_path / name, seed)[0].state_dict()["head.weight"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("averaging", [None, 0.9])
def test_resumes_after_a_kill(tmp_path: Path, averaging: float | None) -> None:
    """
    A training that was stopped in its second epoch ends with the weights and the measurements of
    one that was not.
    """
    recipe = dataclasses.replace(RECIPE, averaging=averaging)
    whole, _, whole_run = fit(tmp_path / "whole", recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", recipe=recipe, stop_in=2)
    parts, steps, parts_run = fit(tmp_path / "parts", recipe=recipe)
    assert steps[0].epoch == 2
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, parts.state_dict()[name]), name
    measured = [(epoch.epoch, epoch.loss, epoch.accuracy) for epoch in whole_run.epochs]
    assert measured == [(epoch.epoch, epoch.loss, epoch.accuracy) for epoch in parts_run.epochs]


def test_auxiliary_heads_learn_with_their_weight(tmp_path: Path) -> None:
    """
    The loss of a head for training counts as much as the recipe says; at 0 it learns nothing.
    """
    for weight, learns in ((0.3, True), (0.0, False)):
        recipe = dataclasses.replace(
            RECIPE,
            auxiliary_weight=weight,
            optimizer=dataclasses.replace(RECIPE.optimizer, weight_decay=0.0),
        )
        torch.manual_seed(0)
        before = Headed().auxiliary.weight
        after = fit(tmp_path / str(weight), recipe=recipe)[0].state_dict()["auxiliary.weight"]
        assert torch.equal(before, after) != learns


def test_averaged_weights_are_used(tmp_path: Path) -> None:
    """
    The network ends with the average of its weights, which has learnt after few steps, too.
    """
    torch.manual_seed(0)
    before = Headed().state_dict()["head.weight"]
    found = {}
    for averaging in (None, 0.9999):
        recipe = dataclasses.replace(RECIPE, averaging=averaging)
        network, _, _ = fit(tmp_path / str(averaging), recipe=recipe)
        found[averaging] = network.state_dict()["head.weight"] - before
    plain, average = found[None], found[0.9999]
    assert not torch.equal(plain, average)
    assert average.norm() > plain.norm() / 2


def test_frozen_layers_stay(tmp_path: Path) -> None:
    """
    While only the head learns, weights and statistics of the body stay as they were.
    """
    torch.manual_seed(0)
    network = Headed()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    freeze_except(network, {"head.weight", "head.bias"})
    fit(tmp_path, network=network)
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"head.weight", "head.bias"}


def test_half_precision(tmp_path: Path) -> None:
    """
    Products in bfloat16 train float32 weights.
    """
    network, steps, _ = fit(tmp_path, compute=BFLOAT16)
    assert steps[-1].accuracy > 0.9
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_channels_last(tmp_path: Path) -> None:
    """
    Networks get their images in the layout that is fastest.
    """
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, 1, 32, 32))
    layouts = []
    network[1].register_forward_pre_hook(
        lambda _, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    fit(tmp_path, network=network)
    assert set(layouts) == {True}


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path) -> None:
    """
    A training runs on a GPU if there is one, in half precision, and can be resumed there.
    """
    with joined("cuda", mixed_precision=True) as compute:
        assert compute.autocast is not None
        network = Headed().to(compute.device)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, network=network, compute=compute, stop_in=2)
        _, steps, _ = fit(tmp_path, network=network, compute=compute)
    assert steps[-1].accuracy > 0.9
    assert {weights.device.type for weights in network.parameters()} == {"cuda"}


def test_loss_that_is_no_number(tmp_path: Path) -> None:
    """
    A training that goes astray ends with an error, not with an artifact.
    """
    wild = dataclasses.replace(RECIPE.optimizer, learning_rate=1e30)
    recipe = dataclasses.replace(RECIPE, epochs=5, optimizer=wild)
    with pytest.raises(TrainingError, match="the loss became"):
        fit(tmp_path, recipe=recipe)


def test_clipped_gradients(tmp_path: Path) -> None:
    """
    A rate that would throw the weights out is survived with clipped gradients.
    """
    recipe = dataclasses.replace(
        RECIPE,
        optimizer=dataclasses.replace(RECIPE.optimizer, learning_rate=50.0),
        gradient_clip=1e-4,
    )
    network, _, _ = fit(tmp_path, recipe=recipe)
    assert network.state_dict()["head.weight"].abs().max() < 10


def test_folder_of_a_training(tmp_path: Path) -> None:
    """
    Measurements are on disk after each epoch, drawn at the end; the checkpoint goes once the
    weights are kept elsewhere.
    """
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop_in=2)
    header, row = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert header.startswith("epoch,seconds,learning_rate,loss,accuracy")
    assert row.startswith("1,")
    _, _, run = fit(tmp_path)
    assert read_metrics(tmp_path / METRICS_FILE) == run.epochs
    assert run.draw("stripes") == tmp_path / CURVES_FILE
    assert (tmp_path / CURVES_FILE).read_bytes().startswith(b"\x89PNG")
    run.finish()
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_checkpoint_of_another_training(tmp_path: Path) -> None:
    """
    An unfinished training is neither resumed nor overwritten by one with other options, and both
    sets of options are shown.
    """
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, seed=0, stop_in=2)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(
        TrainingError,
        match=r"unfinished training, `seed 0`; this one is `seed 1`. They differ in --seed "
        r"\(0 there, 1 here\)\.",
    ):
        fit(tmp_path, seed=1)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    assert fit(tmp_path, seed=0)[1][0].epoch == 2


def answers(*accuracies: float) -> Validate:
    """Validation that finds these accuracies, one after the other."""
    found = iter(accuracies)
    return lambda network: (1.0, next(found))


def weights_after(folder: Path, epochs: int) -> dict[str, Tensor]:
    """The weights of the same training after some of its epochs, from its own checkpoints."""
    copies: dict[int, dict[str, Tensor]] = {}

    def copy(network: nn.Module) -> tuple[float, float]:
        copies[len(copies) + 1] = {k: v.clone() for k, v in network.state_dict().items()}
        return 1.0, 0.5

    fit(folder, validate=copy)
    return copies[epochs]


def test_best_and_last_weights_are_kept(tmp_path: Path) -> None:
    """
    The weights of the epoch with the highest accuracy are kept as the best, those at the end as
    the last.
    """
    network, _, run = fit(tmp_path / "run", validate=answers(0.5, 0.9, 0.8))
    best, last = run.weights(BEST_FILE), run.weights(LAST_FILE)
    expected = weights_after(tmp_path / "again", 2)
    assert best.keys() == last.keys() == expected.keys()
    assert all(torch.equal(best[name], expected[name]) for name in best)
    assert all(torch.equal(last[name], value) for name, value in network.state_dict().items())
    assert not torch.equal(best["head.weight"], last["head.weight"])


def test_averaged_weights_are_validated(tmp_path: Path) -> None:
    """
    The weights that would be exported are validated and kept: the average, not the last step's.
    """
    seen: list[Tensor] = []

    def validate(network: nn.Module) -> tuple[float, float]:
        assert not network.training
        seen.append(network.state_dict()["head.weight"].clone())
        return 1.0, 0.1 * len(seen)

    recipe = dataclasses.replace(RECIPE, averaging=0.999)
    network, _, run = fit(tmp_path, recipe=recipe, validate=validate)
    assert torch.equal(seen[-1], network.state_dict()["head.weight"])
    assert torch.equal(seen[-1], run.weights(BEST_FILE)["head.weight"])


def test_validation_changes_no_weights(tmp_path: Path) -> None:
    """
    A training gives the same weights with validation and without, also one with dropout.
    """
    without, _, _ = fit(tmp_path / "without")
    validate = Validation(images(), RECIPE, CPU, workers=0)
    assert RECIPE.preprocessing.channels == 1
    network, _, run = fit(tmp_path / "with", validate=validate)
    assert all(
        torch.equal(value, network.state_dict()[name])
        for name, value in without.state_dict().items()
    )
    assert run.epochs[-1].validation_accuracy is not None


def images() -> Split:
    """A few digits, of two labels as the stripes have."""
    digits = load_digits().validation
    return Split(digits.sources[:40], digits.labels[:40] % 2)


def test_early_stopping(tmp_path: Path) -> None:
    """
    A training ends after so many epochs without progress, and a resumed one at the same epoch.
    """
    recipe = dataclasses.replace(RECIPE, epochs=20, patience=2)
    accuracies = (0.5, 0.7, 0.6, 0.7, 0.9)
    _, steps, run = fit(tmp_path / "whole", recipe=recipe, validate=answers(*accuracies))
    assert [epoch.validation_accuracy for epoch in run.epochs] == [0.5, 0.7, 0.6, 0.7]
    assert steps[-1].epoch == 4
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", recipe=recipe, validate=answers(*accuracies), stop_in=4)
    _, steps, run = fit(tmp_path / "parts", recipe=recipe, validate=answers(*accuracies[3:]))
    assert {step.epoch for step in steps} == {4}
    # Nothing is left to do for a training that had stopped by itself.
    assert fit(tmp_path / "parts", recipe=recipe, validate=answers())[1] == []


def test_class_weights() -> None:
    """
    Rare classes weigh more; over all images the weight is 1 on average.
    """
    found = balanced_weights(Split([b""] * 8, np.array([0] * 6 + [1] * 2)), 2)
    assert found.tolist() == pytest.approx([8 / 12, 2.0])
    assert (found * torch.tensor([6, 2])).sum() == 8


def test_weights_of_classes(tmp_path: Path) -> None:
    """
    Images count by the weights of their classes; equal weights change nothing.
    """
    heads = {}
    for name, weights in (("none", None), ("equal", [2.0, 2.0]), ("unequal", [3.0, 1.0])):
        given = None if weights is None else torch.tensor(weights)
        network, _, _ = fit(tmp_path / name, class_weights=given)
        heads[name] = network.state_dict()["head.weight"]
    assert torch.allclose(heads["none"], heads["equal"], atol=1e-4)
    assert not torch.allclose(heads["none"], heads["unequal"], atol=1e-2)


def test_damaged_checkpoint(tmp_path: Path) -> None:
    """
    A damaged checkpoint is named, with the way out.
    """
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is damaged; delete it"):
        fit(tmp_path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """
    A training that could not keep its measurements does not begin.
    """
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot write"):
        Run(tmp_path / "file" / "run", {})


def test_one_training_at_a_time_in_a_folder(tmp_path: Path) -> None:
    """
    A second training in the same folder is refused, until the first one is over.
    """
    with (
        locked(tmp_path / "run"),
        pytest.raises(TrainingError, match=r"another training is running in .*run: wait for it"),
        locked(tmp_path / "run"),
    ):
        pytest.fail("two trainings in one folder")
    with locked(tmp_path / "run"):
        pass
