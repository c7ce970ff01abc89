"""Reads a page without a browser: its elements, its text, the rows of its tables."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """elements: (name, attributes) of each; text: all text; rows: the cells' texts of each row of a table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements, self.text, self.rows, self._in_cell = [], "", [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data):
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data.strip()

    def row(self, heading: str) -> list[str]:
        """The cells beside the first row's heading that is `heading`."""
        return next(cells[1:] for cells in self.rows if cells[0] == heading)
