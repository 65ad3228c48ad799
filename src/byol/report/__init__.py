"""Pages and figures: self-contained HTML documents, Markdown, and charts as SVG."""
