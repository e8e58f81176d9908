"""What a case file is made of, and how cases are found."""
