"""SVG text: elements with escaped text, and a whole drawing with its title and description."""

import html
from dataclasses import dataclass

FONT = 13
"""Default font size, in pixels."""
LEAST_SHARE = 0.75
"""Share of its width to which a drawing of a page shrinks at most: text of 12 px has 9 px then."""
INK, PAPER = "#222", "#fff"
"""Text and background of a drawing in a file of its own; in a page both follow the page's color scheme."""


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, content: str = "", /, **attributes: str | float) -> str:
    """One element. `stroke_width=2` becomes `stroke-width="2"`; attribute values are escaped.

    Args:
        name: tag name.
        content: markup between the tags; escape text before it comes here.
        attributes: empty strings are left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
        if value != ""
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def label(x: float, y: float, words: str, **attributes: str | float) -> str:
    """Text at a point, escaped. `text_anchor` is `start` (default), `middle` or `end`."""
    return element("text", html.escape(words, quote=False), x=x, y=y, **attributes)


def text_width(words: str, size: float = FONT) -> float:
    """Estimated width of a text in pixels; a browser's own fonts differ by a few percent."""
    return 0.54 * size * len(words)


@dataclass(frozen=True)
class Svg:
    """A drawing of a fixed size in pixels; it shrinks with a narrow page.

    Colors: `currentColor` is the text color of the page, so axes and text fit a light and a dark scheme.
    """

    width: float
    height: float
    title: str
    description: str
    """What the drawing shows, for readers who cannot see it."""
    body: str

    def inline(self) -> str:
        """The element for an HTML page; it refers to nothing outside.

        It shrinks to `LEAST_SHARE`, where its text can still be read; below that the page scrolls it sideways.
        """
        return self._markup(f"max-width:100%;min-width:{number(LEAST_SHARE * self.width)}px;height:auto")

    def standalone(self) -> str:
        """The content of an `.svg` file, dark text on white."""
        style = f"max-width:100%;height:auto;color:{INK};background:{PAPER}"
        return self._markup(style, xmlns="http://www.w3.org/2000/svg") + "\n"

    def _markup(self, style: str, **attributes: str) -> str:
        named = element("title", html.escape(self.title, quote=False))
        described = element("desc", html.escape(self.description, quote=False)) if self.description else ""
        return element(
            "svg",
            named + described + self.body,
            **attributes,
            viewBox=f"0 0 {number(self.width)} {number(self.height)}",
            width=self.width,
            height=self.height,
            style=style,
            font_family="system-ui,sans-serif",
            font_size=FONT,
            fill="currentColor",
            role="img",
            aria_label=self.title,
        )
