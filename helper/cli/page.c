/* SPDX-License-Identifier: BSD-2-Clause */
#include "page.h"

#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "svg.h"

static const char style[] =
	":root{color-scheme:light "
	"dark;--a:#3b6fd4;--b:#d9631e;--good:#1a7f4b;--bad:#c0322b;--soft:#8884;--text:#222;--back:#fff}"
	"@media(prefers-color-scheme:dark){:root{--a:#7aa5ff;--b:#ff9a5c;--good:#4cc38a;--bad:#ff7b72;--text:#ddd;--"
	"back:#161616}}"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:60rem;margin:2rem "
	"auto;padding:0 1rem}"
	"h1{font-size:1.3rem}h2{font-size:1.05rem;margin:2.2rem 0 .4rem}code,td,svg{font-variant-numeric:tabular-nums}"
	".verdict{border-left:6px solid #888;padding:.7rem 1rem;background:var(--soft);font-size:1.1rem}"
	".verdict.faster{border-color:var(--good)}.verdict.slower,.verdict.bad{border-color:var(--bad)}"
	"table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{padding:.25rem "
	".6rem;text-align:right;border-bottom:1px solid var(--soft)}"
	"th:first-child,td:first-child,th:last-child,td:last-child{text-align:left}tr.decides{font-weight:600}"
	".wide{overflow-x:auto}svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:var(--text)}svg "
	".title{font-size:13px}"
	".grid{stroke:var(--soft)}.one{stroke:var(--text);stroke-width:1.2}.frame{fill:none;stroke:#8888}.margin{fill:"
	"var(--soft)}"
	".line{fill:none;stroke-width:2}.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}"
	".dot.a{fill:var(--a)}.dot.b{fill:var(--b)}.dot{fill-opacity:.85}.dot.out{fill-opacity:.25}"
	".interval{stroke:#888;stroke-width:3;stroke-linecap:round}.estimate{fill:#888}.interval.faster{stroke:var(--"
	"good)}.estimate.faster{fill:var(--good)}"
	".interval.slower{stroke:var(--bad)}.estimate.slower{fill:var(--bad)}.interval.same{stroke:var(--a)}.estimate."
	"same{fill:var(--a)}"
	".strong{font-weight:600}.key{font-weight:600}.key.a{color:var(--a)}.key.b{color:var(--b)}.note{font-size:."
	"88rem;opacity:.85}";

void page_begin(FILE *out, const char *command, const char *about)
{
	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" "
		"content=\"width=device-width\"/><title>%s</title>\n<style>%s</style></head><body>\n<h1>%s: ",
		command, style, command);
	svg_text(out, about);
	fputs("</h1>\n", out);
}

void page_end(FILE *out)
{
	fputs("</body></html>\n", out);
}

void page_verdict_begin(FILE *out, const char *class)
{
	fprintf(out, "<p class=\"verdict %s\">", class);
}

void page_verdict_end(FILE *out)
{
	fputs("</p>\n", out);
}

void page_paragraph(FILE *out, const char *title, const char *text)
{
	fprintf(out, "<p><b>%s</b> <code>", title);
	svg_text(out, text);
	fputs("</code></p>\n", out);
}

void page_machine(FILE *out)
{
	struct utsname name = { 0 };
	time_t now = time(NULL);
	char date[40] = "";
	struct tm broken;

	uname(&name);
	if (localtime_r(&now, &broken))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &broken);
	fprintf(out, "%s, Linux %s, %ld CPUs", date, name.release, sysconf(_SC_NPROCESSORS_ONLN));
}

void page_cell(FILE *out, const char *text)
{
	fputs("<td>", out);
	svg_text(out, text);
	fputs("</td>", out);
}
