/* SPDX-License-Identifier: BSD-2-Clause */
/* Admission: see admission.h. */
#include "admission.h"

#include <stdatomic.h>
#include <time.h>

#include "clock.h"

#define DESTINATIONS 256u
#define TURNS_MAX 2000000000u

/* Direct-mapped: of two destinations with one place the later takes it, and the other begins anew. */
static _Atomic uint64_t destinations[DESTINATIONS];

uint32_t admission_now_ms(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC_COARSE, &now); /* no system call */
	return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

uint32_t admission_turns(uint32_t base, uint32_t doublings)
{
	if (doublings > 16)
		doublings = 16;
	uint64_t turns = (uint64_t)(base ? base : 1) << doublings;
	return doublings == 0 ? base : turns > TURNS_MAX ? TURNS_MAX : (uint32_t)turns;
}

void admission_armed(struct admission *admission, uint32_t turns, uint32_t now_ms)
{
	admission->changed_ms = now_ms;
	admission->wants_out = 0;
	admission->to_measure = false;
	admission->is_unsure = true;
	admission->row = 0;
	admission->spills = admission->pauses = 0;
	if (admission->was_armed)
		return;
	admission->was_armed = true;
	admission->armed_at_turn = turns;
}

void admission_left(struct admission *admission, enum admission_why why, uint32_t now_ms)
{
	bool was_long = now_ms - admission->changed_ms >= ADMISSION_LONG_STAY_MS;

	if (why == ADMISSION_MEASURES)
		admission->setbacks = 0;
	else if (why == ADMISSION_PASSES || (why == ADMISSION_SPILLS && !was_long))
		admission->setbacks += ADMISSION_SETBACKS_SPILLS;
	else if (why == ADMISSION_SPILLS && admission->setbacks < ADMISSION_SETBACKS_SPILLS)
		admission->setbacks = ADMISSION_SETBACKS_SPILLS; /* a reader that was slow once */
	else if (why == ADMISSION_SPILLS_BULK && admission->setbacks < ADMISSION_SETBACKS_SPILLS_BULK)
		admission->setbacks = ADMISSION_SETBACKS_SPILLS_BULK;
	else if (!was_long)
		admission->setbacks++;
	else if (admission->setbacks > 0)
		admission->setbacks--;
	if (admission->setbacks > ADMISSION_SETBACKS_MAX)
		admission->setbacks = ADMISSION_SETBACKS_MAX;
	admission->changed_ms = now_ms;
	admission->wants_out = 0;
	admission->to_measure = false;
	admission->sends = admission->worth_while = admission->doubtful = admission->row_ends = 0;
}

enum admission_window admission_window(struct admission *admission)
{
	enum admission_window window = ADMISSION_PAYS;

	if (admission->worth_while < ADMISSION_WINDOW_SENDS / ADMISSION_SENDS_PER_TURN)
		window = ADMISSION_SMALL_WRITES;
	else if (admission->doubtful > ADMISSION_WINDOW_SENDS / 2)
		window = ADMISSION_DOUBTFUL;
	if (window == ADMISSION_DOUBTFUL)
		admission->is_unsure = false;
	admission->sends = admission->worth_while = admission->doubtful = admission->row_ends = 0;
	return window;
}

bool admission_may_return(const struct admission *admission, uint32_t now_ms)
{
	return now_ms - admission->changed_ms >= ADMISSION_PAUSE_MS << admission->setbacks;
}

/* ---- destinations ---- */

uint64_t destination_word(uint32_t destination, uint32_t level)
{
	return (uint64_t)destination << 32 | level;
}

uint32_t destination_level(uint64_t word, uint32_t destination)
{
	return word >> 32 == destination ? (uint32_t)word : 0;
}

uint64_t destination_judged(uint64_t word, uint32_t destination, bool paid)
{
	uint32_t level = destination_level(word, destination);

	if (paid)
		level -= level > 0;
	else
		level += level < ADMISSION_LEVEL_MAX;
	return destination_word(destination, level);
}

uint32_t destination_of(const struct endpoints *ends, bool accepted)
{
	const struct wire_endpoint *name = accepted ? &ends->local : &ends->remote;
	uint32_t hash = 2166136261u ^ accepted; /* FNV-1a */

	for (unsigned i = 0; !accepted && i < sizeof(name->address); i++)
		hash = (hash ^ name->address[i]) * 16777619u;
	hash = (hash ^ (name->port_n & 0xff)) * 16777619u;
	hash = (hash ^ (name->port_n >> 8)) * 16777619u;
	return hash ? hash : 1;
}

uint32_t admission_lot(const struct endpoints *ends, bool accepted)
{
	uint32_t client_n = accepted ? ends->remote.port_n : ends->local.port_n;
	uint32_t server_n = accepted ? ends->local.port_n : ends->remote.port_n;
	uint32_t mixed = (client_n << 16 | server_n) * 0x9e3779b1u;

	mixed = (mixed ^ mixed >> 15) * 0x85ebca77u;
	return mixed ^ mixed >> 13;
}

static _Atomic uint64_t *place(uint32_t destination)
{
	return &destinations[(destination ^ destination >> 16) % DESTINATIONS];
}

bool admission_ask(const struct admission *admission, uint32_t lot, uint32_t base, uint32_t turns,
		   uint32_t *retry_at_turn)
{
	uint32_t level = destination_level(atomic_load(place(admission->destination)), admission->destination);
	uint32_t wanted = admission_turns(base, level);

	if (turns >= wanted || (lot & ((1u << level) - 1)) == 0)
		return true;
	*retry_at_turn = wanted;
	return false;
}

static void judge(uint32_t destination, bool paid)
{
	_Atomic uint64_t *entry = place(destination);
	uint64_t word = atomic_load(entry);

	if (paid && destination_level(word, destination) == 0)
		return; /* the usual case: nothing to learn, no line to take from others */
	while (!atomic_compare_exchange_weak(entry, &word, destination_judged(word, destination, paid)))
		;
}

void admission_judge_unmatched(struct admission *admission)
{
	if (admission->destination == 0 || (admission->learnt & LEARNT_UNMATCHED))
		return;
	admission->learnt |= LEARNT_UNMATCHED;
	judge(admission->destination, false);
}

void admission_judge_end(struct admission *admission, uint32_t turns)
{
	if (admission->destination == 0 || (admission->learnt & LEARNT_END))
		return;
	admission->learnt |= LEARNT_END;
	if (admission->was_armed)
		judge(admission->destination,
		      turns - admission->armed_at_turn >= ADMISSION_PAID_TURNS && !admission->is_doubted);
	else
		admission_judge_unmatched(admission);
}
