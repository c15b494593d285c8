"""What the site needs beyond its pages: the files outside docs/ that they link to, and formulas as MathML."""

import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "examples")
KINDS = (".md", ".py", ".png", ".jsonl", ".json", ".csv", ".toml", ".sh")


def on_files(files: Files, config) -> Files:
    """Add the benchmarks and examples, at the place that they have in the repository."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = any(part.startswith((".", "__")) for part in path.relative_to(ROOT).parts)
            if path.suffix in KINDS and not hidden:
                files.append(File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page, **_: object) -> str:
    """In the site docs/ is the root: links out of it lose one step, links into it the folder's name."""
    source = page.file.src_uri
    if source.startswith(FOLDERS):
        return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    if source == "mathematics.md":
        markdown = re.sub(r"\$\$(.+?)\$\$", lambda found: convert(found[1], display="block"), markdown, flags=re.DOTALL)
        markdown = re.sub(r"\$(.+?)\$", lambda found: convert(found[1]), markdown, flags=re.DOTALL)
    return re.sub(rf"\]\(\.\./((?:\.\./)*(?:{'|'.join(FOLDERS)})/)", r"](\1", markdown)
