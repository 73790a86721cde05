"""Check that every internal link, anchor, image, style and script of a built site exists: check_site.py FOLDER."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids a page offers and the addresses it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.references: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what one tag offers and refers to."""
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.ids.add(value)
            elif (
                value
                and name in {"href", "src"}
                and not (tag == "link" and dict(attrs).get("rel") == "canonical")
            ):
                self.references.add(value)


def broken(site: Path) -> list[str]:
    """Return one line for each reference that leads nowhere."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for reference in sorted(page.references):
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = _file_of(site, path, unquote(parts.path))
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
                found.append(f"{path.relative_to(site)}: {reference}")
    return found


def _file_of(site: Path, page: Path, address: str) -> Path:
    if not address:
        return page
    target = site / address.lstrip("/") if address.startswith("/") else page.parent / address
    return (target / "index.html" if address.endswith("/") or target.is_dir() else target).resolve()


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    dead = broken(root)
    count = len(list(root.rglob("*.html")))
    print("\n".join(dead) if dead else f"{count} pages, every link is alive")
    sys.exit(bool(dead) or not count)
