"""What each record says, as lines of the table of figures: one module for each kind of figure."""
