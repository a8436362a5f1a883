"""A run as files: csv, json, Markdown, HTML."""
