"""Sphinx's settings for the pages of docs/ (`make site`)."""

project = "reconciler"
copyright = ""
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "furo"
html_title = "reconciler"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_last_updated_fmt = None
# Links as the repository has them: to headings, to pages, and to files beside docs/ as text.
myst_heading_anchors = 4
myst_all_links_external = False
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
