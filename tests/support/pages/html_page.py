"""Read a page as a browser would: its tables, its text, and whether its elements are closed."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "wbr"}


class Element:
    """An element with its attributes; its children are elements and texts."""

    def __init__(self, tag, attributes=()):
        self.tag = tag
        self.attributes = dict(attributes)
        self.children = []

    @property
    def classes(self):
        return set(self.attributes.get("class", "").split())

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def own_text(self):
        """The text that is not in an element within."""
        return "".join(child for child in self.children if isinstance(child, str))

    def all(self, tag, name=None):
        """Every element of a tag, and of a class, within this one, in order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if child.tag == tag and (name is None or name in child.classes):
                    found.append(child)
                found += child.all(tag, name)
        return found

    def every(self):
        """This element and all within."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.every()


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = [Element("document")]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs)
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read_page(text):
    """The document; every element in it is closed where it should be."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    (document,) = reader.open
    return document


def cells(part):
    """The letters and classes of each cell of the first timeline in a part of a page, by layer."""
    table = part.all("table", "timeline")[0]
    return {
        row.all("th")[0].text: [(cell.own_text(), cell.classes) for cell in row.all("td")]
        for row in table.all("tbody")[0].all("tr")
    }
