"""The HTML of a page as a Jinja2 template, with its style sheet."""

_CSS = """
:root { color-scheme: light dark; --back: #fbfbfa; --box: #ffffff; --text: #1d2430; --soft: #5b6573; --line: #d9dde3;
  --link: #0b5fa5; --warn: #8a4b00; --right: #0072b2; --wrong: #d55e00;
  --blue: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --box: #1b1f26; --text: #e4e7ec; --soft: #a2abb8;
  --line: #343b46; --link: #7cc0f5; --warn: #f0b35c; --right: #56b4e9; --wrong: #f08a4b; --blue: #2f8fd6; } }
@media print { :root { color-scheme: light; --back: #fff; --box: #fff; --text: #000; --soft: #444; --line: #bbb;
  --link: #000; --warn: #000; --right: #0072b2; --wrong: #d55e00; --blue: #0072b2; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 40px 0 12px; padding-top: 12px; border-top: 1px solid var(--line); }
p { max-width: 72ch; margin: 8px 0 12px; }
a { color: var(--link); }
.summary { font-size: 1.1rem; color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 16px 0 0; font-size: .9rem; }
.notice { border-left: 4px solid var(--warn); padding: 6px 12px; background: var(--box); }
figure, .table { margin: 12px 0 20px; }
figcaption, .caption { font-size: .875rem; color: var(--soft); margin: 6px 0 0; max-width: 72ch; }
.figures { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
.figures figure { margin: 0; min-width: 0; background: var(--box); border: 1px solid var(--line); border-radius: 6px;
  padding: 10px; }
.figures .wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; margin: 0 auto; }
table { border-collapse: collapse; width: max-content; font-size: .9rem; font-variant-numeric: tabular-nums;
  background: var(--box); }
.table .scroll { width: fit-content; max-width: 100%; border: 1px solid var(--line); border-radius: 6px; }
th, td { padding: 5px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; max-width: 42ch; }
tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; max-width: 24ch; overflow-wrap: anywhere;
  white-space: pre-line; }
tbody th { font-weight: 600; }
.fixed th:first-child { position: sticky; left: 0; background: var(--box); }
td.right { white-space: nowrap; }
.right { text-align: right; }
.title { font-weight: 600; margin: 0 0 6px; }
.faces { display: flex; flex-wrap: wrap; gap: 12px 10px; }
.face { width: min-content; font-size: .75rem; line-height: 1.25; }
.face img { display: block; width: auto; height: 84px; max-width: none; border-radius: 4px; margin-bottom: 3px;
  box-shadow: 0 0 0 1px var(--line); }
.face.right img { outline: 3px solid var(--right); }
.face.wrong img { outline: 3px dashed var(--wrong); }
.face.right { text-align: left; }
.face.right img, .face.wrong img { margin-bottom: 6px; }
dl { max-width: 80ch; } dt { font-weight: 600; } dd { margin: 0 0 10px; color: var(--soft); }
@media (max-width: 600px) { main { padding: 16px 12px 32px; } h1 { font-size: 1.4rem; }
  .figures { grid-template-columns: 100%; } .figures figure { padding: 6px; }
  th, td { padding: 4px 7px; } tbody th, td { max-width: 24ch; } }
@media print { nav { display: none; } body { font-size: 11pt; } main { max-width: none; padding: 0; }
  figure, .face, tr, .notice { break-inside: avoid; } h2, .title { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; } .face img { box-shadow: none; }
  .scroll { overflow: visible; } .fixed th:first-child { position: static; } }
"""

TEMPLATE = (
    """\
{% macro face(one) %}
<div class="face {{ one.mark }}"><img src="{{ one.source }}" alt="{{ one.text }}">
{%- for line in one.lines %}<div>{{ line }}</div>{% endfor %}</div>
{%- endmacro %}
{% macro cell(value) %}{% if value is face %}{{ face(value) }}{% else %}{{ value | cell }}{% endif %}{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{{ page.title }}</title>
<style>"""
    + _CSS
    + """</style>
</head>
<body>
<main>
<h1>{{ page.title }}</h1>
<p class="summary">{{ page.summary }}</p>
{% if sections | length > 2 %}
<nav aria-label="sections">
{% for heading, _ in sections %}
<a href="#section-{{ loop.index }}">{{ heading }}</a>
{% endfor %}
</nav>
{% endif %}
{% for heading, groups in sections %}
<section>
<h2 id="section-{{ loop.index }}">{{ heading }}</h2>
{% for kind, blocks in groups %}
{% if kind == "Figure" %}
<div class="figures">
{% for figure in blocks %}
<figure{% if figure.wide %} class="wide"{% endif %}>
<div class="scroll"><div style="min-width: {{ figure.least_width }}px; max-width: {{ figure.most_width }}px" role="img"
  aria-label="{{ figure.caption }}">
{{ figure.svg | safe }}
</div></div>
<figcaption>{{ figure.caption }}</figcaption>
</figure>
{% endfor %}
</div>
{% else %}
{% for block in blocks %}
{% if kind == "str" %}
<p>{{ block }}</p>
{% elif kind == "Notice" %}
<p class="notice">{{ block.text }}</p>
{% elif kind == "Terms" %}
<dl>
{% for term, meaning in block.meanings.items() %}
<dt>{{ term }}</dt><dd>{{ meaning }}</dd>
{% endfor %}
</dl>
{% elif kind == "FaceGrid" %}
<figure>
{% if block.title %}
<p class="title">{{ block.title }}</p>
{% endif %}
<div class="faces">
{% for one in block.faces %}
{{ face(one) }}
{% endfor %}
</div>
{% if block.caption %}
<figcaption>{{ block.caption }}</figcaption>
{% endif %}
</figure>
{% elif kind == "Table" %}
{% set right = right_columns(block) %}
<div class="table">
<div class="scroll" tabindex="0">
<table{% if block.fixed %} class="fixed"{% endif %}>
<thead><tr>
{% for name in block.header %}
<th scope="col"{% if right[loop.index0] %} class="right"{% endif %}>{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in block.rows %}
<tr>
{% for value in row %}
{% if loop.first and block.fixed %}
<th scope="row">{{ cell(value) }}</th>
{% else %}
<td{% if right[loop.index0] %} class="right"{% endif %}>{{ cell(value) }}</td>
{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if block.caption %}
<p class="caption">{{ block.caption }}</p>
{% endif %}
</div>
{% endif %}
{% endfor %}
{% endif %}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
)
