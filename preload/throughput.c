/* SPDX-License-Identifier: BSD-2-Clause */
/* Joined or plain, by measurement: see throughput.h. Threads that end a window at once may spoil a run, whose answer is then wrong,
 * for a while; nothing here divides by what another thread could have set to 0. */
#include "throughput.h"

static void begin_run(struct throughput *throughput, bool joined, uint64_t bytes, uint32_t now_us)
{
	throughput->was_joined = joined;
	throughput->windows = 0;
	throughput->bytes_before = bytes;
	throughput->began_us = throughput->ended_us = now_us;
}

/* The run goes on with the window that ends now: it took at most so many times the average of those before. */
static bool goes_on(const struct throughput *throughput, bool joined, uint32_t now_us)
{
	uint64_t window_us = now_us - throughput->ended_us, before_us = throughput->ended_us - throughput->began_us;
	unsigned windows = throughput->windows;

	return throughput->ended_us && throughput->was_joined == joined &&
	       (!windows || window_us * windows <= THROUGHPUT_GAP_FACTOR * (before_us + windows));
}

/* Worth the change: an eighth at least. */
static bool is_faster(uint32_t rate, uint32_t plain_rate)
{
	return (uint64_t)rate * 8 >= (uint64_t)plain_rate * 9;
}

enum throughput_says throughput_window(struct throughput *throughput, bool joined, uint64_t bytes, uint32_t now_us)
{
	uint32_t rate;

	now_us |= 1; /* 0: no run yet */
	if (joined && (!throughput->plain_rate || ++throughput->stayed > THROUGHPUT_STAY_WINDOWS)) {
		throughput->plain_rate = 0;
		throughput->stayed = 0;
		return THROUGHPUT_ANEW;
	}
	if (!goes_on(throughput, joined, now_us)) {
		begin_run(throughput, joined, bytes, now_us);
		return THROUGHPUT_MEASURING;
	}
	throughput->windows++;
	throughput->ended_us = now_us;
	rate = (uint32_t)((bytes - throughput->bytes_before) / ((now_us - throughput->began_us) | 1)) + 1;
	if (joined && rate < throughput->plain_rate / 2)
		return THROUGHPUT_PLAIN; /* no need to see more of it */
	if (throughput->windows < THROUGHPUT_RUN_WINDOWS)
		return THROUGHPUT_MEASURING;
	begin_run(throughput, joined, bytes, now_us);
	if (joined)
		return is_faster(rate, throughput->plain_rate) ? THROUGHPUT_JOINED : THROUGHPUT_PLAIN;
	throughput->plain_rate = rate;
	throughput->stayed = 0;
	return THROUGHPUT_PLAIN;
}
