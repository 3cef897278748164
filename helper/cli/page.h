/* SPDX-License-Identifier: BSD-2-Clause */
/* A report as one page: no script, no other file, no network. Colours: "a" and "b" are the arms. */
#ifndef SMACCEL_CLI_PAGE_H
#define SMACCEL_CLI_PAGE_H

#include <stdio.h>

/* command: "smaccel ab", without anything that means something to HTML; about: anything. */
void page_begin(FILE *out, const char *command, const char *about);
void page_end(FILE *out);
/* Around the sentence. class: of statistics_verdict_name(), "bad" or "". */
void page_verdict_begin(FILE *out, const char *class);
void page_verdict_end(FILE *out);
void page_paragraph(FILE *out, const char *title, const char *text);
/* "2026-11-24 17:30, Linux 6.18, 2 CPUs" */
void page_machine(FILE *out);
void page_cell(FILE *out, const char *text);

#endif
