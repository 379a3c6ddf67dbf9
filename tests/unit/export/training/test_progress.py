import io
import math

from rich.console import Console

from convoy.export.training.epoch_log import Epoch, best_epoch
from convoy.export.training.progress import curves, shown
from convoy.export.training.trainer import Step


def epoch(number: int, accuracy: float | None, loss: float = 0.5) -> Epoch:
    return Epoch(
        epoch=number,
        seconds=1.0,
        learning_rate=0.1,
        loss=1 / number,
        accuracy=number / 10,
        validation_loss=None if accuracy is None else loss,
        validation_accuracy=accuracy,
    )


def test_lines() -> None:
    """
    Without a terminal, each epoch is a line with both measurements, and says if it is the best.
    """
    output = io.StringIO()
    epochs = [epoch(1, 0.5), epoch(2, 0.4)]
    with shown(Console(file=output, width=200), 20) as listener:
        for count in (1, 2):
            listener.step(Step(count, count, 20, 0.1, 0.1))
            listener.epoch(epochs[:count])
    first, second = output.getvalue().splitlines()
    assert first == (
        "epoch 1/20  loss 1.0000  accuracy 0.1000  validation loss 0.5000  accuracy 0.5000  best"
    )
    assert second.startswith("epoch 2/20")
    assert not second.endswith("best")


def test_lines_without_validation() -> None:
    """
    Nothing is said of a validation that there is not.
    """
    output = io.StringIO()
    with shown(Console(file=output, width=200), 20) as listener:
        listener.epoch([epoch(1, None)])
    assert output.getvalue() == "epoch 1/20  loss 1.0000  accuracy 0.1000\n"


def test_curves() -> None:
    """
    Both curves are drawn; a loss that is no number has no height.
    """
    training, validation = curves(
        [epoch(1, 0.2), epoch(2, 0.6, math.nan), epoch(3, 0.4)]
    ).plain.splitlines()
    assert training == "training    loss 0.333 █▃▁  accuracy 0.300 ▁▅█"
    assert validation == "validation  loss 0.500 ▁?▁  accuracy 0.400 ▁█▅  best: epoch 2"
    assert len(curves([epoch(1, None)]).plain.splitlines()) == 1


def test_best_epoch() -> None:
    """
    The highest accuracy counts, then the lowest loss, then the first; a loss of NaN is the worst.
    """
    epochs = [
        epoch(1, 0.9, math.nan),
        epoch(2, 0.9, 0.4),
        epoch(3, 0.9, 0.3),
        epoch(4, 0.9, 0.3),
        epoch(5, 0.8, 0.1),
    ]
    assert best_epoch(epochs).epoch == 3
    assert best_epoch(epochs[:1]).epoch == 1
    assert best_epoch([epoch(1, None), epoch(2, None)]).epoch == 2
