/* SPDX-License-Identifier: BSD-2-Clause */
/* Position-coded bytes: what stands at an offset of a stream can be told from a key alone, at several GB/s.
 *
 * Byte `offset` of a stream is a byte of mix(key + offset / 8), so that bytes that were lost, repeated, moved or that came
 * from another connection never match. A pattern with a period repeats after that many bytes (a multiple of 8; it is
 * meant to be prime / 8, so that no buffer size is a multiple of it): sendfile() needs its bytes in a file of finite size.
 */
#ifndef SMACCEL_TEST_PATTERN_H
#define SMACCEL_TEST_PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define PATTERN_FILE_PERIOD (524287u * 8u) /* 2^19 - 1 words: just below 4 MiB */

struct pattern {
	uint64_t key;
	uint64_t period_bytes; /* 0: none */
};

static inline uint64_t pattern_mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static inline struct pattern pattern_make(uint64_t seed, uint64_t connection, uint64_t direction, uint64_t period_bytes)
{
	uint64_t key = pattern_mix(seed + 1) ^ pattern_mix(connection * 2 + direction + 0x5151);

	return (struct pattern){ .key = pattern_mix(key), .period_bytes = period_bytes };
}

/* The part of [offset, offset + bytes) up to the end of a period; *at is where it starts within the period. */
static inline size_t pattern_run(const struct pattern *pattern, uint64_t offset, size_t bytes, uint64_t *at)
{
	if (!pattern->period_bytes) {
		*at = offset;
		return bytes;
	}
	*at = offset % pattern->period_bytes;
	return bytes < pattern->period_bytes - *at ? bytes : pattern->period_bytes - *at;
}

static inline unsigned char pattern_byte(const struct pattern *pattern, uint64_t offset)
{
	uint64_t at = pattern->period_bytes ? offset % pattern->period_bytes : offset;
	uint64_t word = pattern_mix(pattern->key + at / 8);

	return ((const unsigned char *)&word)[at % 8];
}

static inline void pattern_fill(const struct pattern *pattern, uint64_t offset, void *buffer, size_t bytes)
{
	unsigned char *out = buffer;

	while (bytes) {
		uint64_t at;
		size_t run = pattern_run(pattern, offset, bytes, &at), i = 0;

		for (; i < run && (at + i) % 8; i++)
			out[i] = pattern_byte(pattern, at + i);
		for (; i + 8 <= run; i += 8) {
			uint64_t word = pattern_mix(pattern->key + (at + i) / 8);

			memcpy(out + i, &word, 8);
		}
		for (; i < run; i++)
			out[i] = pattern_byte(pattern, at + i);
		out += run;
		offset += run;
		bytes -= run;
	}
}

static inline ssize_t pattern_first_bad(const struct pattern *pattern, uint64_t at, const unsigned char *in,
					size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (in[i] != pattern_byte(pattern, at + i))
			return (ssize_t)i;
	return -1;
}

/* The index of the first wrong byte, or -1. */
static inline ssize_t pattern_verify(const struct pattern *pattern, uint64_t offset, const void *buffer, size_t bytes)
{
	const unsigned char *in = buffer;
	size_t done = 0;

	while (done < bytes) {
		uint64_t at, word, wrong = 0;
		size_t run = pattern_run(pattern, offset + done, bytes - done, &at), i = 0;

		for (; i < run && (at + i) % 8; i++)
			wrong |= in[done + i] ^ pattern_byte(pattern, at + i);
		for (; i + 8 <= run; i += 8) {
			memcpy(&word, in + done + i, 8);
			wrong |= word ^ pattern_mix(pattern->key + (at + i) / 8);
		}
		for (; i < run; i++)
			wrong |= in[done + i] ^ pattern_byte(pattern, at + i);
		if (wrong)
			return (ssize_t)done + pattern_first_bad(pattern, at, in + done, run);
		done += run;
	}
	return -1;
}

/* For a report: where do these 16 wrong bytes belong? Looks `span` bytes to both sides of `offset`; -1: nowhere there. */
static inline int64_t pattern_locate(const struct pattern *pattern, uint64_t offset, const void *bytes16, uint64_t span)
{
	const unsigned char *in = bytes16;
	uint64_t first = offset > span ? offset - span : 0;

	for (uint64_t at = first; at < offset + span; at++)
		if (in[0] == pattern_byte(pattern, at) && pattern_verify(pattern, at, in, 16) < 0)
			return (int64_t)at;
	return -1;
}

#endif
