"""The tuning data of a run: all chosen task families in one source.

Their sources are capped and combined; missing templates are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.families import TaskFamily
from recbole_lcrec.instructions.selection import chosen_tasks, requested_families
from recbole_lcrec.instructions.sources import Capped, GivenInstructions, InstructionSource, Mixture, StreamsFirst
from recbole_lcrec.instructions.tasks import task_families
from recbole_lcrec.instructions.templates import Instruction, Templates

__all__ = ["GENERAL", "alignment_instructions", "require_templates"]

GENERAL = "general"
"""Name of the general instructions in a mixture, which belong to no task family."""


def alignment_instructions(
    context: InstructionContext, settings: TuningSettings, general: Sequence[Instruction] = ()
) -> Mixture | StreamsFirst:
    """Build the tuning data of a run: every datum of every chosen family once per epoch (paper III-C).

    Args:
        context: data, templates, history length, seed; ``title_tokens`` where a family shows histories of titles.
        settings: which families, in which form, and how many data of each per epoch.
        general: instructions that have nothing to do with items, each once per epoch in words.

    Returns:
        The source; its ``counts(epoch)`` returns how many instructions each family has.

    Raises:
        ValueError: a family lacks its data or its templates, a title exceeds its budget, or epochs of streams are
            requested without a task that has streams.
    """
    names, _ = chosen_tasks(settings.tasks, context.data)
    families = [family for name, family in task_families().items() if name in names]

    parts = [(family.name, _source(family, context, settings)) for family in families]
    if general:
        parts.append((GENERAL, GivenInstructions(tuple(general))))
    mixture = Mixture(tuple(parts))
    if not settings.stream_epochs:
        return mixture
    streams = [
        (family.name, _capped(family.streams(context), family.name, context, settings))
        for family in families
        if family.streams is not None
    ]
    if not streams:
        raise ValueError(
            f"tuning_stream_epochs = {settings.stream_epochs} begins with streams, but no task of tuning_tasks = "
            f"{list(names)} has that form: add seq, or set tuning_stream_epochs to 0"
        )
    return StreamsFirst(Mixture(tuple(streams)), mixture, settings.stream_epochs)


def require_templates(settings: TuningSettings, templates: Templates) -> None:
    """Check, without any data, that all sub-tasks of the requested families have templates.

    Families that are shown as streams need none.

    Raises:
        ValueError: a sub-task has no templates, or a family is unknown.
    """
    for family in requested_families(settings.tasks):
        if family.streams is None or settings.seq_format != "stream":
            _require_worded(family, [subtask.name for subtask in family.subtasks], templates)


def _require_worded(family: TaskFamily, subtasks: Iterable[str], templates: Templates) -> None:
    unworded = [name for name in subtasks if not templates.tasks.get(name)]
    if unworded:
        raise ValueError(
            f"task family {family.name}: there are no templates for {', '.join(unworded)}; add them to "
            "properties/instructions/lcrec.yaml or to the file that tuning_template_file names, or leave "
            f"{family.name} out of tuning_tasks"
        )


def _source(family: TaskFamily, context: InstructionContext, settings: TuningSettings) -> InstructionSource:
    if family.streams is not None and settings.seq_format == "stream":
        return _capped(family.streams(context), family.name, context, settings)
    present = {name: source for name, source in family.sources(context).items() if source.size(0)}
    _require_worded(family, present, context.templates)
    return _capped(Mixture(tuple(present.items())), family.name, context, settings)


def _capped(
    source: InstructionSource, family: str, context: InstructionContext, settings: TuningSettings
) -> InstructionSource:
    caps = settings.samples_per_task
    most = caps.get(family) if isinstance(caps, Mapping) else caps
    return source if most is None else Capped(source, most, context.seed)
