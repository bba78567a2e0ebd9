"""A curve of time against recall for each system, as SVG, without a library.

Recall runs to the right on a scale of -log10(1 - recall), so that 0.9, 0.99
and 0.999 are equally far apart; the time of a query goes up on a logarithmic
scale.  Lower and further right is better.
"""

import html
import math

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 50
COLORS = ("#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#6c757d")
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


def _x(recall):
    low, high = (-math.log10(1 - r) for r in (RECALLS[0], RECALLS[-1]))
    return LEFT + (WIDTH - LEFT - RIGHT) * (-math.log10(1 - recall) - low) / (high - low)


def write_svg(path, title, curves):
    """curves: {name: [(recall, microseconds), ...]}"""
    shown = {name: sorted((r, t) for r, t in line if RECALLS[0] <= r <= RECALLS[-1])
             for name, line in curves.items()}
    times = [t for line in shown.values() for _, t in line]
    if not times:
        return
    ticks = [factor * 10 ** power for power in range(0, 8) for factor in (1, 2, 5)]
    low = max(tick for tick in ticks if tick <= max(1, min(times)))
    high = min(tick for tick in ticks if tick > max(times))

    def y(time):
        share = math.log(time / low) / math.log(high / low)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
             'font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
             '<rect width="100%" height="100%" fill="white"/>',
             '<text x="%d" y="18" font-size="15">%s</text>' % (LEFT, html.escape(title))]
    for recall in RECALLS:
        parts.append('<path d="M%.1f %d V%d" stroke="#ddd"/>'
                     '<text x="%.1f" y="%d" text-anchor="middle">%g</text>'
                     % (_x(recall), TOP, HEIGHT - BOTTOM, _x(recall),
                        HEIGHT - BOTTOM + 16, recall))
    for tick in ticks:
        if low <= tick <= high:
            parts.append('<path d="M%d %.1f H%d" stroke="#ddd"/>'
                         '<text x="%d" y="%.1f" text-anchor="end">%g</text>'
                         % (LEFT, y(tick), WIDTH - RIGHT, LEFT - 6, y(tick) + 4, tick))
    parts.append('<text x="%d" y="%d" text-anchor="middle">recall</text>'
                 % ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12))
    parts.append('<text x="%d" y="%d">us for a query, median</text>' % (8, TOP - 12))
    for number, (name, line) in enumerate(shown.items()):
        color = COLORS[number % len(COLORS)]
        if not line:
            continue
        parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
                     % (color, " ".join("%.1f,%.1f" % (_x(r), y(t)) for r, t in line)))
        parts.extend('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (_x(r), y(t), color)
                     for r, t in line)
        parts.append('<text x="%d" y="%d" fill="%s">%s</text>'
                     % (WIDTH - RIGHT + 8, TOP + 18 * (number + 1), color, html.escape(name)))
    parts.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")
