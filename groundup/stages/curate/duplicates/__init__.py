"""What is there twice: whole documents, exactly, nearly or in meaning; and lines, paragraphs and passages in them."""
