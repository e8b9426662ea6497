"""From raw pages to text: encodings, main content, tables and code, repaired characters."""
