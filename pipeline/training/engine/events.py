"""TensorBoard events beside the log, where somebody asks for them.

``log.jsonl`` is always written, by the loop; this adds the same numbers in the form that
TensorBoard reads. It needs the package ``tensorboard`` (``pip install noisemill[tensorboard]``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.training.engine.loop import TrainingProgress

__all__ = ["training_log"]


@contextmanager
def training_log(
    folder: Path, *, tensorboard: bool
) -> Iterator[Callable[[TrainingProgress], None]]:
    """Give what is called with every line of the log.

    Args:
        folder: Of the training; events go to ``tensorboard`` below it.
        tensorboard: Whether to write events; without, the call does nothing.

    Raises:
        ValueError: If TensorBoard is asked for and not installed.
    """
    if not tensorboard:
        yield lambda progress: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "tensorboard: the package is not installed; run `pip install noisemill[tensorboard]` "
            "or remove `tensorboard: true`. log.jsonl holds the same numbers."
        ) from error
    writer = SummaryWriter(str(folder / "tensorboard"))
    try:

        def write(progress: TrainingProgress) -> None:
            step = progress.step
            writer.add_scalar("loss", progress.loss, step)
            writer.add_scalar("learning_rate", progress.learning_rate, step)
            for name, value in (progress.validation or {}).items():
                writer.add_scalar(f"validation/{name}", value, step)
            writer.flush()

        yield write
    finally:
        writer.close()
