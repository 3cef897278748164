/* SPDX-License-Identifier: BSD-2-Clause */
#include "channel_breaker.h"

#include <stdatomic.h>
#include <stdint.h>

#include "../helper/wire/wire.h"
#include "channel.h"
#include "clock.h"

static _Atomic bool is_open;
static _Atomic int64_t silent_since_ms;
static _Atomic uint32_t ping_nonce; /* what `pong` must show; 0: not sent yet */

/* One at a time: the last to arrive is the one that is remembered. */
static void send_ping(void)
{
	struct wire_ping ping = { .nonce = (uint32_t)clock_coarse_ms() | 1 };
	uint32_t none = 0;

	wire_header_init(&ping.header, WIRE_PING, sizeof(ping), 0, 0);
	if (atomic_compare_exchange_strong(&ping_nonce, &none, ping.nonce) &&
	    channel_send(&ping, sizeof(ping), -1) != 0)
		atomic_store(&ping_nonce, 0);
}

void breaker_open(int silent_ms)
{
	if (atomic_exchange(&is_open, true))
		return;
	atomic_store(&silent_since_ms, clock_coarse_ms() - silent_ms);
	atomic_store(&ping_nonce, 0);
	send_ping();
}

void breaker_close(void)
{
	atomic_store(&is_open, false);
	atomic_store(&ping_nonce, 0);
}

bool breaker_is_open(void)
{
	return atomic_load(&is_open);
}

int breaker_patience_ms(void)
{
	int64_t left_ms = atomic_load(&silent_since_ms) + CHANNEL_WAIT_LONG_MS - clock_coarse_ms();

	return !breaker_is_open() || left_ms < 0 ? 0
	       : left_ms < CHANNEL_WAIT_LONG_MS  ? (int)left_ms
						 : CHANNEL_WAIT_LONG_MS;
}

bool breaker_has_answer(void)
{
	struct session_memory *memory = channel_memory();
	uint32_t nonce = atomic_load(&ping_nonce);

	if (memory && nonce == 0)
		send_ping();
	return memory && nonce != 0 && atomic_load(&memory->pong) == nonce;
}
