"""Checked figures, printed as one table."""

import sys


class Table:
    """Rows of a figure and its limit. A row fails if the figure misses the limit or if there is an error instead."""

    def __init__(self):
        self.rows = []

    def at_least(self, subject, what, figure, limit):
        self.rows.append((subject, what, f"{figure:.6g}", f">= {limit:g}", bool(figure >= limit)))

    def at_most(self, subject, what, figure, limit):
        self.rows.append((subject, what, f"{figure:.3g}", f"<= {limit:g}", bool(figure <= limit)))

    def note(self, subject, what, figure):
        self.rows.append((subject, what, f"{figure:.6g}", "", True))

    def error(self, subject, what, message):
        self.rows.append((subject, what, str(message), "", False))

    def finish(self):
        """Prints the table and ends the program: 0 only if there are rows and all of them hold."""
        rows = [("model", "figure", "value", "limit", "")] + [(*r[:4], "ok" if r[4] else "MISS") for r in self.rows]
        # A message longer than a figure takes its own line, so that it does not widen the column.
        width = [max(len(r[c]) for r in rows if len(r[c]) <= 60) for c in range(5)]
        for r in rows:
            print("  ".join(cell.ljust(width[c]) for c, cell in enumerate(r)).rstrip())
        missed = sum(not r[4] for r in self.rows)
        print(f"{len(self.rows)} figures, {missed} missed")
        sys.exit(0 if self.rows and not missed else 1)
