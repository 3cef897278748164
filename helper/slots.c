/* SPDX-License-Identifier: BSD-2-Clause */
/* The slots.
 *
 * The shared half (struct sm_slot) is read by the verdict at any moment, without a lock. Rules that keep it right:
 *
 *  - The state is FREE while anything else changes hands, and it is set last (release order).
 *  - A slot that is taken anew has a new generation, written before anything else: what an old socket's sk_storage still
 *    says about the slot is then void. Slots are reused in the order in which they were freed, and not before
 *    KEPT_FREE others: so many, beside the most that were ever in use together, take memory.
 *  - The helper writes everything but the counters; the verdict writes the counters.
 *
 * In each queue the slots stand in the order of their deadlines as long as all waits of that queue are equally long; where they
 * are not, the server of the queue looks a little further (pairing's check queue).
 */
#include "slots.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "group.h"
#include "helper.h"
#include "ledger.h"
#include "log.h"
#include "policy.h"
#include "trial.h"

#define KEPT_FREE 512

struct slots {
	struct helper *helper;
	struct sm_slot *shared;
	struct slot *table; /* of untouched memory: a slot that was never in use costs nothing (slot_at()) */
	uint32_t count, used, adopted;
	uint32_t *free_ring;
	uint32_t free_head, free_count;
	uint32_t *untouched;
	uint32_t untouched_count;
	struct slot *used_list;
	struct slot *queues[SLOT_QUEUE_COUNT];
};

static const char *const state_names[] = {
	[SM_SLOT_FREE] = "free",
	[SM_SLOT_INSERTING] = "inserting",
	[SM_SLOT_JOINED] = "joined",
	[SM_SLOT_ARMED] = "armed",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == SM_SLOT_ARMED + 1, "a name for each state");

const char *slot_state_name(unsigned state)
{
	return state <= SM_SLOT_ARMED ? state_names[state] : "unknown";
}

void slot_state_set(struct slot *slot, enum sm_slot_state state)
{
	log_debug("slot %u: %s -> %s", slot->index, slot_state_name(slot->shared->state), slot_state_name(state));
	__atomic_store_n(&slot->shared->state, state, __ATOMIC_RELEASE);
}

struct slots *slots_new(struct helper *helper, struct sm_slot *shared, uint32_t count)
{
	struct slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return NULL;
	slots->helper = helper;
	slots->shared = shared;
	slots->count = count;
	slots->table = calloc(count, sizeof(*slots->table));
	slots->free_ring = calloc(count, sizeof(*slots->free_ring));
	slots->untouched = calloc(count, sizeof(*slots->untouched));
	if (!slots->table || !slots->free_ring || !slots->untouched) {
		slots_free(slots);
		return NULL;
	}
	/* What an earlier helper left in use is not offered until pairing has looked at it. */
	for (uint32_t i = count; i-- > 0;)
		if (shared[i].state == SM_SLOT_FREE)
			slots->untouched[slots->untouched_count++] = i;
	return slots;
}

void slots_free(struct slots *slots)
{
	if (!slots)
		return;
	free(slots->table);
	free(slots->free_ring);
	free(slots->untouched);
	free(slots);
}

static void slot_use(struct slots *slots, struct slot *slot)
{
	DL_APPEND2(slots->used_list, slot, used_prev, used_next);
	slots->used++;
}

static struct slot *next_free(struct slots *slots)
{
	uint32_t index;

	if (slots->untouched_count && slots->free_count < KEPT_FREE)
		return slot_at(slots, slots->untouched[--slots->untouched_count]);
	index = slots->free_ring[slots->free_head];
	slots->free_head = (slots->free_head + 1) % slots->count;
	slots->free_count--;
	return slot_at(slots, index);
}

struct slot *slot_take(struct slots *slots, uint32_t uid)
{
	struct sm_slot *shared;
	struct slot *slot;

	if (slots->free_count + slots->untouched_count == 0 || policy_take(slots->helper->policy, uid, POLICY_SLOTS))
		return NULL;
	slot = next_free(slots);
	slot->charged_uid = uid;
	slot->charged = true;
	memset(slot->seen, 0, sizeof(slot->seen));
	slot_use(slots, slot);

	shared = slot->shared;
	if (!++shared->generation)
		shared->generation = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	shared->pins = 0;
	shared->pin_reason = 0;
	shared->netns_cookie = 0;
	memset(shared->end, 0, sizeof(shared->end));
	memset(shared->direction, 0, sizeof(shared->direction));
	slot_state_set(slot, SM_SLOT_INSERTING);
	return slot;
}

struct slot *slot_adopt(struct slots *slots, uint32_t index, uint32_t uid)
{
	struct slot *slot = slot_at(slots, index);

	slot->charged_uid = uid;
	slot->charged = policy_take(slots->helper->policy, uid, POLICY_SLOTS) == 0; /* over the limit: it runs anyhow */
	slot->adopted = true;
	slots->adopted++;
	slot_use(slots, slot);
	return slot;
}

void slot_sums_add(struct sm_direction *sums, const struct sm_direction *one)
{
	const struct sm_direction nothing = { 0 };

	slot_sums_add_since(sums, one, &nothing);
	sums->spills += one->spills;
	sums->order_passes += one->order_passes;
	sums->busy_passes += one->busy_passes;
}

void slot_sums_add_since(struct sm_direction *sums, const struct sm_direction *now, const struct sm_direction *then)
{
	sums->redirected_msgs += now->redirected_msgs - then->redirected_msgs;
	sums->redirected_bytes += now->redirected_bytes - then->redirected_bytes;
	sums->passed_msgs += now->passed_msgs - then->passed_msgs;
	sums->passed_bytes += now->passed_bytes - then->passed_bytes;
}

void slot_release(struct slots *slots, struct slot *slot)
{
	struct helper *helper = slots->helper;

	log_debug("slot %u of pids %u %u: redirected %llu bytes", slot->index, slot->shared->end[0].pid,
		  slot->shared->end[1].pid,
		  (unsigned long long)(slot->shared->direction[0].redirected_bytes +
				       slot->shared->direction[1].redirected_bytes));
	slot_state_set(slot, SM_SLOT_FREE);
	group_slot_released(slot);
	trial_slot_released(helper, slot);
	for (int side = 0; side < SM_SIDES; side++) {
		slot->shared->end[side].cookie = 0;
		slot->end[side] = NULL;
		slot_sums_add(&helper->switches->retired, &slot->shared->direction[side]);
	}
	memset(slot->shared->direction, 0, sizeof(slot->shared->direction));
	for (int queue = 0; queue < SLOT_QUEUE_COUNT; queue++) {
		slot_queue_remove(slots, slot, queue);
		slot->queued[queue].tries = 0;
	}
	if (slot->ledger)
		ledger_give(helper->ledgers, slot->ledger, slot->ledger_cell);
	slot->ledger = NULL;
	if (slot->charged)
		policy_give(helper->policy, slot->charged_uid, POLICY_SLOTS);
	slot->charged = false;
	slots->adopted -= slot->adopted;
	slot->adopted = false;
	DL_DELETE2(slots->used_list, slot, used_prev, used_next);
	slots->used--;
	slots->free_ring[(slots->free_head + slots->free_count) % slots->count] = slot->index;
	slots->free_count++;
}

struct slot *slot_at(struct slots *slots, uint32_t index)
{
	struct slot *slot = &slots->table[index];

	if (!slot->shared) {
		slot->index = index;
		slot->shared = &slots->shared[index];
	}
	return slot;
}

const struct sm_slot *slot_shared_at(const struct slots *slots, uint32_t index)
{
	return &slots->shared[index];
}

uint32_t slots_adopted(const struct slots *slots)
{
	return slots->adopted;
}

uint32_t slots_used(const struct slots *slots)
{
	return slots->used;
}

uint32_t slots_count(const struct slots *slots)
{
	return slots->count;
}

struct slot *slots_first(const struct slots *slots)
{
	return slots->used_list;
}

void slots_rotate(struct slots *slots)
{
	struct slot *first = slots->used_list;

	if (!first || !first->used_next)
		return;
	DL_DELETE2(slots->used_list, first, used_prev, used_next);
	DL_APPEND2(slots->used_list, first, used_prev, used_next);
}

#define LINK_NEXT queued[queue].next
#define LINK_PREV queued[queue].prev

void slot_queue_add(struct slots *slots, struct slot *slot, enum slot_queue queue, uint64_t due_ns)
{
	slot_queue_remove(slots, slot, queue);
	slot->queued[queue].due_ns = due_ns;
	DL_APPEND2(slots->queues[queue], slot, LINK_PREV, LINK_NEXT);
}

void slot_queue_remove(struct slots *slots, struct slot *slot, enum slot_queue queue)
{
	if (!slot->queued[queue].due_ns)
		return;
	DL_DELETE2(slots->queues[queue], slot, LINK_PREV, LINK_NEXT);
	slot->queued[queue].due_ns = 0;
}

struct slot *slot_queue_first(const struct slots *slots, enum slot_queue queue)
{
	return slots->queues[queue];
}
