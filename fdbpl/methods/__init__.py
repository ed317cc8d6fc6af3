"""Methods: one objective a file, and the table that names them."""
