"""Curves for each system, as SVG, without a library.

Time against recall: recall runs to the right on a scale of -log10(1 - recall),
so that 0.9, 0.99 and 0.999 are equally far apart; lower and further right is
better.  Time against anything else: both on a logarithmic scale.
"""

import html
import math

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 50
COLORS = ("#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#6c757d")
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


class Axis:
    """Values from the first to the last tick, spread as 'scale' spreads them."""

    def __init__(self, label, ticks, scale):
        self.label = label
        self.ticks = ticks
        self.scale = scale

    def share(self, value):
        """0 at the first tick, 1 at the last."""
        low, high = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        return (self.scale(value) - low) / (high - low)

    def x(self, value):
        return LEFT + (WIDTH - LEFT - RIGHT) * self.share(value)

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.share(value)


def log_axis(label, values):
    """A logarithmic axis with ticks at 1, 2 and 5 that holds the values."""
    ticks = [factor * 10 ** power for power in range(-2, 10) for factor in (1, 2, 5)]
    low = max(tick for tick in ticks if tick <= min(values))
    high = min(tick for tick in ticks if tick > low and tick >= max(values))
    return Axis(label, [tick for tick in ticks if low <= tick <= high], math.log)


def write_recall_svg(path, title, curves):
    """curves: {name: [(recall, microseconds), ...]}"""
    shown = {name: [(r, t) for r, t in line if RECALLS[0] <= r <= RECALLS[-1]]
             for name, line in curves.items()}
    times = [t for line in shown.values() for _, t in line]
    if times:
        write_svg(path, title, shown,
                  Axis("recall", RECALLS, lambda recall: -math.log10(1 - recall)),
                  log_axis("us for a query, median", times))


def write_log_svg(path, title, curves, label_x, label_y):
    """curves: {name: [(x, y), ...]}"""
    points = [point for line in curves.values() for point in line]
    write_svg(path, title, curves, log_axis(label_x, [x for x, _ in points]),
              log_axis(label_y, [y for _, y in points]))


def write_svg(path, title, curves, across, up):
    """The curves on two axes that hold all their points."""
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
             'font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
             '<rect width="100%" height="100%" fill="white"/>',
             '<text x="%d" y="18" font-size="15">%s</text>' % (LEFT, html.escape(title))]
    for tick in across.ticks:
        parts.append('<path d="M%.1f %d V%d" stroke="#ddd"/>'
                     '<text x="%.1f" y="%d" text-anchor="middle">%s</text>'
                     % (across.x(tick), TOP, HEIGHT - BOTTOM, across.x(tick),
                        HEIGHT - BOTTOM + 16, tick))
    for tick in up.ticks:
        parts.append('<path d="M%d %.1f H%d" stroke="#ddd"/>'
                     '<text x="%d" y="%.1f" text-anchor="end">%s</text>'
                     % (LEFT, up.y(tick), WIDTH - RIGHT, LEFT - 6, up.y(tick) + 4, tick))
    parts.append('<text x="%d" y="%d" text-anchor="middle">%s</text>'
                 % ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, html.escape(across.label)))
    parts.append('<text x="%d" y="%d">%s</text>' % (8, TOP - 12, html.escape(up.label)))
    for number, (name, line) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        if not line:
            continue
        places = [(across.x(x), up.y(y)) for x, y in sorted(line)]
        parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                     % (color, " ".join("%.1f,%.1f" % place for place in places)))
        parts.extend('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (*place, color)
                     for place in places)
        parts.append('<text x="%d" y="%d" fill="%s">%s</text>'
                     % (WIDTH - RIGHT + 8, TOP + 18 * (number + 1), color, html.escape(name)))
    parts.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")
