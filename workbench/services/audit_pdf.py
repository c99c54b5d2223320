"""The report of an audit as a PDF of a few pages, with reportlab: nothing is fetched, and the same report gives the
same bytes.
"""

import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from workbench.services.audit_reports import AuditReport, Row, Section

Link = Callable[[Mapping[str, str]], str]
WIDTH = 483.0  # points within the margins
_FONT = "Helvetica"
_PLAIN = [
    ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 2),
]


def draw(report: AuditReport, *, link: Link | None = None, written: str = "") -> bytes:
    """link: the address of the verdicts that a query of the report names; none for a report without links. written:
    the day, for the foot of the page.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    font, bold = _register_fonts()
    looks = _make_looks(font, bold)
    story: list[Any] = [
        Paragraph(escape(report.title), looks["title"]),
        Paragraph(escape(report.answer), looks["answer"]),
        Paragraph(escape(report.so_what), looks["body"]),
        Spacer(1, 8),
        _draw_facts(report, looks),
    ]
    for section in report.sections:
        story += _draw_section(section, looks, link)
    story += [Spacer(1, 10), Paragraph("The same figures again:", looks["meta"])]
    story.append(Paragraph(escape(report.command), looks["meta"]))
    foot = f"{report.title} · labels of version {report.dataset_version}, verdicts of version {report.verdict_version}"

    def draw_foot(canvas: Any, document: Any) -> None:
        canvas.setFont(font, 8)
        canvas.drawString(document.leftMargin, 28, f"{foot}{' · ' + written if written else ''}")
        canvas.drawRightString(A4[0] - document.rightMargin, 28, f"{document.page}")

    file = io.BytesIO()
    made = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=50,
        rightMargin=50,
        topMargin=46,
        bottomMargin=50,
        title=report.title,
        author="Curation Workbench",
        invariant=1,  # no time and no random id within
    )
    made.build(story, onFirstPage=draw_foot, onLaterPages=draw_foot)
    return file.getvalue()


def _register_fonts() -> tuple[str, str]:
    """DejaVu, which comes with matplotlib (captum needs that): the built-in fonts know western letters only."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" if spec and spec.origin else None
    if folder is None or not (folder / "DejaVuSans.ttf").is_file():
        return _FONT, f"{_FONT}-Bold"
    if "Workbench" not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont("Workbench", str(folder / "DejaVuSans.ttf")))
        pdfmetrics.registerFont(TTFont("Workbench-Bold", str(folder / "DejaVuSans-Bold.ttf")))
    return "Workbench", "Workbench-Bold"


def _make_looks(font: str, bold: str) -> dict[str, Any]:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle

    quiet = HexColor("#555566")
    body = ParagraphStyle("body", fontName=font, fontSize=9.5, leading=13)
    return {
        "body": body,
        "title": ParagraphStyle("title", body, fontSize=10, textColor=quiet, spaceAfter=6),
        "answer": ParagraphStyle("answer", body, fontName=bold, fontSize=17, leading=22, spaceAfter=4),
        "section": ParagraphStyle("section", body, fontName=bold, fontSize=11.5, spaceBefore=14, spaceAfter=4),
        "meta": ParagraphStyle("meta", body, fontSize=8, leading=11, textColor=quiet),
        "head": ParagraphStyle("head", body, fontSize=8, leading=11, textColor=quiet, alignment=2),
        "cell": ParagraphStyle("cell", body, fontSize=8.5, leading=11),
        "number": ParagraphStyle("number", body, fontSize=8.5, leading=11, alignment=2),
    }


def _draw_facts(report: AuditReport, looks: dict[str, Any]) -> Any:
    from reportlab.platypus import Paragraph, Table

    rows = [
        [Paragraph(escape(name), looks["meta"]), Paragraph(escape(words), looks["cell"])]
        for name, words in report.facts
    ]
    return Table(
        rows, colWidths=[90, WIDTH - 90], hAlign="LEFT", style=[*_PLAIN, ("BOTTOMPADDING", (0, 0), (-1, -1), 1)]
    )


def _draw_section(section: Section, looks: dict[str, Any], link: Link | None) -> list[Any]:
    from reportlab.platypus import KeepTogether, Paragraph, Table

    head = [
        Paragraph(escape(words), looks["head" if column else "meta"]) for column, words in enumerate(section.header)
    ]
    rows = [head, *([_draw_cell(row, column, looks, link) for column in range(len(row.cells))] for row in section.rows)]
    table = Table(
        rows,
        colWidths=_find_widths(section),
        hAlign="LEFT",
        repeatRows=1,
        style=[*_PLAIN, ("LINEBELOW", (0, 0), (-1, -1), 0.4, "#CCCCD6"), ("BOTTOMPADDING", (0, 0), (-1, -1), 3)],
    )
    note = [Paragraph(escape(section.note), looks["meta"])] if section.note else []
    title = Paragraph(escape(section.title), looks["section"])
    if len(rows) > 25:
        return [title, table, *note]
    return [KeepTogether([title, table, *note])]


def _find_widths(section: Section) -> list[float]:
    """Each column as wide as its longest words ask for."""
    longest = [
        max(10, *(len(row.cells[column]) for row in (Row(section.header), *section.rows)))
        for column in range(len(section.header))
    ]
    return [WIDTH * words / sum(longest) for words in longest]


def _draw_cell(row: Row, column: int, looks: dict[str, Any], link: Link | None) -> Any:
    """The first figure of a line leads to the verdicts that made it."""
    from reportlab.platypus import Paragraph

    words = escape(row.cells[column])
    if link is not None and row.query is not None and column == 0:
        words = f"<link href={quoteattr(link(row.query))} color='#3B3FA8'>{words or 'verdicts'}</link>"
    return Paragraph(words, looks["number" if column else "cell"])
