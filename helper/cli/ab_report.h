/* SPDX-License-Identifier: BSD-2-Clause */
/* The three forms of a report, and what they have in common. */
#ifndef SMACCEL_CLI_AB_REPORT_H
#define SMACCEL_CLI_AB_REPORT_H

#include <stdio.h>

#include "ab_analysis.h"
#include "values.h"

void ab_report_text(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis);
/* The caller owns a reference; NULL without memory. */
json_t *ab_report_json(const struct ab_trial *trial, const struct ab_analysis *analysis);
void ab_report_html(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis);

/* ---- ab_words.c ---- */
#define AB_WORDS_BYTES 512
/* "B is faster: requests x 1.32 (1.28 .. 1.36 at 95 %), p = 0.002", or why there is no verdict. */
const char *ab_words_verdict(char buffer[AB_WORDS_BYTES], const struct ab_trial *trial,
			     const struct ab_analysis *analysis);
/* What would decide, "" if nothing is missing. */
const char *ab_words_missing(char buffer[AB_WORDS_BYTES], const struct ab_result *result);
/* The proof of treatment of an arm. */
const char *ab_words_proof(char buffer[AB_WORDS_BYTES], const struct ab_trial *trial,
			   const struct ab_analysis *analysis, enum ab_arm arm);
/* CMD with its arguments, as one could type it. */
const char *ab_words_command(char buffer[AB_WORDS_BYTES], const char *const *argv);

/* ---- ab_bars.c ---- */
/* `counts` as one line of bars, the highest being `most`. UTF-8 where the locale has it. */
void ab_bars_print(FILE *out, const unsigned *counts, size_t count, unsigned most);

#endif
