"""Brings the documents of the repository's root into the site, and the files that its pages link to.

On a repository page ``docs/x.md`` links to ``../MODEL_CARD.md``, and ``README.md`` to ``docs/x.md``. On the site all
pages lie in one folder, so links are rewritten; a linked file such as ``CITATION.cff`` is copied along. The notebooks
of ``examples/`` become pages with the outputs that are stored in them.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ('README.md', 'MODEL_CARD.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')
LINK = re.compile(r'(?<=\]\()([^)\s#]+)')


def _on_the_site(link: str, folder: Path) -> str:
    """Return the link of a page that lies in ``folder`` of the repository, as seen from the site's folder."""
    target = (folder / link).resolve()
    if re.match(r'\w+:', link) or not target.is_relative_to(ROOT):
        return link
    if target.suffix == '.ipynb':
        return f'example-{target.stem}.md'
    return target.relative_to(ROOT).as_posix().removeprefix('docs/')


def _rewritten(text: str, folder: Path) -> str:
    # code blocks are the odd parts
    parts = re.split(r'(```.*?```|^---\n.*?^---\n)', text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [LINK.sub(lambda match: _on_the_site(match[1], folder), part) for part in parts[::2]]
    return ''.join(parts)


def _page_of(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by the names under which the page shows them."""
    parts, pictures = [], {}
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        parts.append(source if cell['cell_type'] == 'markdown' else f'```python\n{source}\n```')
        for output in cell.get('outputs', []):
            data = output.get('data', {})
            if 'image/png' in data:
                name = f'example-{notebook.stem}-{len(pictures)}.png'
                pictures[name] = base64.b64decode(''.join(data['image/png']))
                parts.append(f'![Output of the cell above]({name})')
            elif text := ''.join(output.get('text', data.get('text/plain', []))):
                parts.append(f'```text\n{text.rstrip()}\n```')
    return '\n\n'.join(parts), pictures


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages and every file outside ``docs/`` that a page links to."""
    for name in PAGES:
        text = _rewritten((ROOT / name).read_text(encoding='utf-8'), ROOT)
        files.append(File.generated(config, name, content=text))
    for path in (ROOT / 'examples').glob('*.ipynb'):
        text, pictures = _page_of(path)
        files.append(File.generated(config, f'example-{path.stem}.md', content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, name, content=picture))
    for path in [*(ROOT / name for name in PAGES), *(ROOT / 'docs').glob('*.md')]:
        for link in LINK.findall(path.read_text(encoding='utf-8')):
            name, target = _on_the_site(link, path.parent), (path.parent / link).resolve()
            if target.is_file() and target.is_relative_to(ROOT) and files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of pages from ``docs/`` and ``examples/``; those of the root's pages have been rewritten."""
    return markdown if page.file.src_uri in PAGES else _rewritten(markdown, ROOT / 'docs')
