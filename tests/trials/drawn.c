/* SPDX-License-Identifier: BSD-2-Clause */
/* A load generator that does not generate load: prints numbers drawn from a seeded distribution, at once.
 *
 *   drawn STATE SEED NOISE     PLANTED=FACTOR in the environment multiplies latencies
 *
 * STATE is a file that counts the runs: each run draws anew. Latencies are log-normal, of 2,000 requests, around a level that
 * wanders from run to run as a real machine's does (drift by the run, and a level common to four runs in a row); NOISE is the relative
 * deviation of a run's level. Output: "p50 X us", "p99 X us", "rate X 1/s", "requests 2000".
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUESTS 2000
#define LEVEL_US 100.0
#define DRIFT_PART 0.001
#define SPREAD 0.3 /* of single latencies */

static uint64_t state;

/* splitmix64, as in helper/cli/statistics.c. */
static double uniform(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

static unsigned long next_run(const char *path)
{
	unsigned long run = 0;
	FILE *file = fopen(path, "r+");

	if (!file)
		file = fopen(path, "w+");
	if (!file) {
		perror(path);
		exit(1);
	}
	if (fscanf(file, "%lu", &run) != 1)
		run = 0;
	rewind(file);
	fprintf(file, "%lu\n", run + 1);
	fclose(file);
	return run;
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	const char *planted = getenv("PLANTED");
	double factor = planted ? strtod(planted, NULL) : 1, latencies[REQUESTS], sum = 0, level, noise;
	unsigned long run, seed;

	if (argc != 4) {
		fprintf(stderr, "usage: drawn STATE SEED NOISE\n");
		return 2;
	}
	run = next_run(argv[1]);
	seed = strtoul(argv[2], NULL, 10);
	noise = strtod(argv[3], NULL);
	state = seed * 1000003 + run / 4; /* what four runs have in common */
	level = LEVEL_US * (1 + 0.1 * normal()) * (1 + DRIFT_PART * (double)run);
	state = (seed * 1000003 + run) ^ 0x5555555555555555u;
	level *= factor * (1 + noise * normal());
	for (int i = 0; i < REQUESTS; i++) {
		latencies[i] = level * exp(SPREAD * normal());
		sum += latencies[i];
	}
	qsort(latencies, REQUESTS, sizeof(latencies[0]), compare);
	printf("level %.6f us\np50 %.3f us\np99 %.3f us\nrate %.1f 1/s\nrequests %d\n", level, latencies[REQUESTS / 2],
	       latencies[REQUESTS * 99 / 100], REQUESTS * 1e6 / sum, REQUESTS);
	return 0;
}
