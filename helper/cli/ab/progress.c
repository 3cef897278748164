/* SPDX-License-Identifier: BSD-2-Clause */
/* Progress on stderr: one line that is written over on a terminal, a line a round elsewhere. */
#include <math.h>
#include <unistd.h>

#include "ab.h"
#include "../table.h"

#define LINE_S 10 /* where lines stay */

static bool on_terminal(void)
{
	return isatty(STDERR_FILENO);
}

/* Said at once: the runs may take an hour. */
static void warn_of_few_rounds(const struct ab_options *options)
{
	/* The smallest p of the rank test, where all rounds say the same, is 2 / 2^rounds. */
	unsigned needed = 1 + (unsigned)ceil(-log2(1 - options->confidence) - 1e-9);

	if (options->rounds < STATISTICS_BLOCKS_MIN)
		fprintf(stderr, "%s: fewer than %u rounds decide nothing, whatever the runs say\n", options->title,
			STATISTICS_BLOCKS_MIN);
	else if (options->rounds < needed)
		fprintf(stderr, "%s: fewer than %u rounds cannot show a difference at %g %%\n", options->title, needed,
			options->confidence * 100);
}

void ab_progress_begin(const struct ab_trial *trial)
{
	const struct ab_options *options = trial->options;

	if (options->quiet) /* the report says it, too */
		return;
	warn_of_few_rounds(options);
	if (options->seconds > 0)
		fprintf(stderr, "%s: 4 runs a round, for %.0f s\n", options->title, options->seconds);
	else
		fprintf(stderr, "%s: %u x 4 runs, and %u to warm up\n", options->title, options->rounds,
			options->warmup * ARMS);
}

/* What is left, from the mean of what was. */
static double left_s(const struct ab_trial *trial)
{
	const struct ab_options *options = trial->options;
	size_t all = (size_t)options->rounds * ROUND_RUNS + (size_t)options->warmup * ARMS;
	double by_count = trial->elapsed_s / (double)trial->run_count * (double)(all - trial->run_count);
	double by_time = options->seconds - trial->elapsed_s;

	return options->seconds > 0 && by_time < by_count ? (by_time > 0 ? by_time : 0) : by_count;
}

void ab_progress_run(const struct ab_trial *trial, const struct ab_run *run)
{
	static double next_line_s = LINE_S;
	char left[TABLE_NUMBER_BYTES];
	size_t warmup = (size_t)trial->options->warmup * ARMS;
	bool terminal = on_terminal();

	if (trial->options->quiet)
		return;
	if (!run->good)
		fprintf(stderr, "%s%s: a run of %c is invalid: %s\n", terminal ? "\r\033[K" : "", trial->options->title,
			ARM_LETTER(run->arm), run->why);
	if (!terminal && (run->round < 0 || (trial->run_count - warmup) % ROUND_RUNS || trial->elapsed_s < next_line_s))
		return;
	next_line_s = trial->elapsed_s + LINE_S;
	table_format_seconds(left, (uint64_t)(left_s(trial) + 0.5));
	if (run->round < 0)
		fprintf(stderr, "\r\033[Kwarming up, about %s left", left);
	else
		fprintf(stderr, "%sround %d of %u, about %s left%s", terminal ? "\r\033[K" : "", run->round + 1,
			trial->options->rounds, left, terminal ? "" : "\n");
}

void ab_progress_end(const struct ab_trial *trial)
{
	if (!trial->options->quiet && on_terminal())
		fprintf(stderr, "\r\033[K");
}
