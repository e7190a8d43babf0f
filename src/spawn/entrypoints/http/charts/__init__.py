"""Charts as shapes of a drawing, laid out by the server: scales, lines, columns, bars, a map."""
