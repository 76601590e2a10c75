"""An item index in the folder of a run.

The published form, what indexes new items, and the report's page.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_lcrec.indexing.item_index import ItemIndex, save_index
from recbole_lcrec.indexing.report import IndexReport, write_report
from recbole_lcrec.indexing.saved import METHOD_FILE, PAGE_FILE, REPORT_FILE, STATE_FILE

__all__ = ["export_index"]


def export_index(
    folder: Path,
    dataset: str,
    item_ids: Sequence[str],
    index: ItemIndex,
    source: Path | None,
    report: Callable[[], IndexReport] | None,
    before: Path | None = None,
) -> None:
    """Write the index in the published form, copy the trained method, and write the report's page.

    Args:
        folder: an existing folder.
        dataset: name of the data set, the stem of ``<dataset>.index.json``.
        item_ids: N original item ids, in row order.
        index: the index of the N items.
        source: folder of the trained method and its numbers; None where the index was given, ``folder`` itself where
            they are in place.
        report: makes the report's content; None where no report is requested.
        before: a folder that the same index has been written to; its page is copied instead of made again.
    """
    save_index(index, item_ids, folder / f"{dataset}.index.json")
    for name in (METHOD_FILE, STATE_FILE, REPORT_FILE):
        if source is not None and source != folder and (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if report is None:
        return
    if before is not None and (before / PAGE_FILE).is_file():
        shutil.copyfile(before / PAGE_FILE, folder / PAGE_FILE)
    else:
        write_report(folder / PAGE_FILE, report())
