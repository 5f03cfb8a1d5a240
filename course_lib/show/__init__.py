"""What a person looks at: figures, widgets, formulas, pages."""
