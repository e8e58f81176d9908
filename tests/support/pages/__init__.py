"""Pages of HTML, read and looked at."""
