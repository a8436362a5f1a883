"""Parses a page of HTML into its elements and texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

ELEMENTS_WITHOUT_END = {'meta', 'link', 'img', 'br', 'input', 'wbr'}


class Page(HTMLParser):
    """A page: its elements as (tag, attributes), its text by section id, its table cells. All must be closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.section = [], [], {}, ''
        self.cells = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append((tag, found))
        if tag not in ELEMENTS_WITHOUT_END:
            self.open.append(tag)
        if tag == 'section':
            self.section = found['id']
        if tag in ('td', 'th'):
            self.cells.append((self.section, tag, ''))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if {'style', 'script'} & set(self.open):
            return
        self.texts[self.section] = self.texts.get(self.section, '') + data
        if self.open and {'td', 'th'} & set(self.open):
            section, tag, text = self.cells.pop()
            self.cells.append((section, tag, text + data))

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]

    def charts(self, prefix):
        """Keys of the charts with this prefix: ``c`` curves, ``f`` forests, ``r`` reliability."""
        return {m[1] for _, a in self.elements if (m := re.match(rf'({prefix}\d+)-', a.get('id', '') or ''))}

    @property
    def sections(self):
        return [attributes['id'] for attributes in self.all('section')]


def words(text):
    return ' '.join(text.split())
