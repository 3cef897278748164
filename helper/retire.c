/* SPDX-License-Identifier: BSD-2-Clause */
/* Retiring: closed sockets, ends that wait alone, and the sweep.
 *
 * The kernel takes a socket out of the sockhash by itself when it is closed or reset. Nobody tells the helper, so it asks
 * (datapath_present()): some milliseconds after it has learned that an end was closed (by a RETIRE, by a note in the session's
 * memory, or because the session ended), and in a slow sweep over the used slots for what slips through (a child that held the
 * socket longer). A slot is freed when neither of its sockets is there any more. One that was armed and has lost one end stays
 * ARMED: the other may have redirected bytes to read, and a helper that starts takes out only what is not armed.
 */
#include <errno.h>

#include "datapath.h"
#include "group.h"
#include "log.h"
#include "pairing_internal.h"
#include "trial.h"

#define CHECK_FIRST_NS (2 * LOOP_NS_PER_MS)
#define CHECK_TRIES 6 /* 2, 4, 8 ... 64 ms; then the sweep finds it */
#define CHECKS_PER_TURN 512
#define CHECKS_IN_NEED 16
#define LOOK_IN_NEED_NS (10 * LOOP_NS_PER_MS) /* there may be many processes */
#define SWEEP_NS LOOP_NS_PER_S
#define SWEEP_SLOTS 256
#define SWEEPS_MAX 10                      /* a second */
#define SWEEP_TURN_NS (2 * LOOP_NS_PER_MS) /* then others are served; the next sweep goes on */

/* ---- ends ---- */

static void leave_place(struct slot *slot, const struct registry_end *end)
{
	slot->end[end->side] = NULL;
	/* The verdict of the other end passes from here on. */
	__atomic_store_n(&slot->shared->end[end->side].cookie, 0, __ATOMIC_RELEASE);
}

static void after_place_left(struct helper *helper, struct slot *slot)
{
	if (!slot->end[0] && !slot->end[1])
		slot_release(helper->slots, slot);
	else if (slot->shared->state != SM_SLOT_ARMED)
		retire_await_peer(helper, slot);
}

void retire_end_gone(struct helper *helper, struct registry_end *end)
{
	struct slot *slot = slot_at(helper->slots, end->slot);

	leave_place(slot, end);
	pairing_end_remove(helper, end);
	after_place_left(helper, slot);
}

struct registry_end *retire_take_out(struct helper *helper, struct registry_end *end, enum sm_reason reason,
				     bool keep_offer)
{
	struct slot *slot = slot_at(helper->slots, end->slot);

	datapath_remove(helper->datapath, end->cookie); /* -ENOENT: closed at this moment */
	leave_place(slot, end);
	pairing_notify_taken_out(helper, end, slot, reason);
	registry_unjoin(helper->registry, end);
	if (reason == REASON_LONELY && end->lonely_times < UINT8_MAX)
		end->lonely_times++;
	if (!end->owner.session_id || !keep_offer) {
		pairing_end_remove(helper, end);
		end = NULL;
	}
	after_place_left(helper, slot);
	return end;
}

/* ---- alone ---- */

void retire_await_peer(struct helper *helper, struct slot *slot)
{
	uint64_t due_ns = loop_now_ns() + helper->options.settings.lonely_ms * LOOP_NS_PER_MS;

	slot_queue_remove(helper->slots, slot, SLOT_QUEUE_ARM);
	slot_queue_add(helper->slots, slot, SLOT_QUEUE_LONELY, due_ns);
	loop_timer_set(helper->loop, &helper->pairing->lonely, due_ns);
}

void retire_lonely_expired(struct loop_timer *timer)
{
	struct helper *helper = loop_container(timer, struct pairing, lonely)->helper;
	uint64_t now_ns = loop_now_ns();
	struct slot *slot;

	while ((slot = slot_queue_first(helper->slots, SLOT_QUEUE_LONELY))) {
		struct registry_end *end = slot->end[0] ? slot->end[0] : slot->end[1];

		if (slot->queued[SLOT_QUEUE_LONELY].due_ns > now_ns) {
			loop_timer_set(helper->loop, timer, slot->queued[SLOT_QUEUE_LONELY].due_ns);
			return;
		}
		slot_queue_remove(helper->slots, slot, SLOT_QUEUE_LONELY);
		if (slot->shared->state == SM_SLOT_ARMED || !end || (slot->end[0] && slot->end[1]))
			continue;
		helper->refusals[REASON_LONELY]++;
		group_refused(slot->group[end->side], REASON_LONELY);
		retire_take_out(helper, end, REASON_LONELY, true);
	}
}

void retire_spare_peer(struct helper *helper, const struct registry_key *key)
{
	const struct registry_key mirror = registry_key_mirror(key);
	struct registry_end *peer = registry_find_joined(helper->registry, &mirror);
	struct slot *slot = peer ? slot_at(helper->slots, peer->slot) : NULL;

	if (slot && slot->shared->state == SM_SLOT_JOINED && !slot->end[!peer->side])
		retire_take_out(helper, peer, REASON_LONELY, true);
}

/* ---- gone? ---- */

void retire_check(struct helper *helper, struct slot *slot)
{
	struct registry_end *ends[SM_SIDES] = { slot->end[0], slot->end[1] };

	for (int side = 0; side < SM_SIDES; side++)
		if (ends[side] && !datapath_present(helper->datapath, ends[side]->cookie))
			retire_end_gone(helper, ends[side]);
}

/* Slots that are looked at together: one system call for many. */
struct roll {
	struct helper *helper;
	void (*then)(struct helper *helper, struct slot *slot); /* of each slot, in use or free now */
	struct slot *slots[DATAPATH_ROLL_MAX / SM_SIDES];
	uint32_t count;
};

/* Frees what is gone of those that were gathered, and forgets them. */
static void roll_call(struct roll *roll)
{
	struct datapath_member members[DATAPATH_ROLL_MAX] = { 0 };

	if (!roll->count)
		return;
	for (uint32_t i = 0; i < roll->count * SM_SIDES; i++) {
		const struct sm_end *end = &roll->slots[i / SM_SIDES]->shared->end[i % SM_SIDES];

		members[i].sk = end->sk;
		members[i].cookie = end->cookie;
	}
	datapath_roll_call(roll->helper->datapath, members, roll->count * SM_SIDES);
	for (uint32_t i = 0; i < roll->count * SM_SIDES; i++) {
		struct registry_end *end = roll->slots[i / SM_SIDES]->end[i % SM_SIDES];

		if (end && !members[i].present)
			retire_end_gone(roll->helper, end);
	}
	for (uint32_t i = 0; i < roll->count; i++)
		roll->then(roll->helper, roll->slots[i]);
	roll->count = 0;
}

static void roll_add(struct roll *roll, struct slot *slot)
{
	roll->slots[roll->count++] = slot;
	if (roll->count == sizeof(roll->slots) / sizeof(roll->slots[0]))
		roll_call(roll);
}

void retire_check_soon(struct helper *helper, struct slot *slot)
{
	uint64_t due_ns = loop_now_ns() + CHECK_FIRST_NS;

	slot->queued[SLOT_QUEUE_CHECK].tries = 0;
	slot_queue_add(helper->slots, slot, SLOT_QUEUE_CHECK, due_ns);
	loop_timer_set(helper->loop, &helper->pairing->check, due_ns);
}

static void check_again(struct helper *helper, struct slot *slot)
{
	struct slot_link *link = &slot->queued[SLOT_QUEUE_CHECK];

	if ((slot->end[0] || slot->end[1]) && ++link->tries < CHECK_TRIES)
		slot_queue_add(helper->slots, slot, SLOT_QUEUE_CHECK, loop_now_ns() + (CHECK_FIRST_NS << link->tries));
}

/* Waits of different length stand in this queue, so the deadlines are not in order: all of it is looked at, a
 * share at a time. */
void retire_check_expired(struct loop_timer *timer)
{
	struct helper *helper = loop_container(timer, struct pairing, check)->helper;
	uint64_t now_ns = loop_now_ns();
	struct roll roll = { .helper = helper, .then = check_again };
	struct slot *slot, *next;
	int looked_at = 0;

	for (slot = slot_queue_first(helper->slots, SLOT_QUEUE_CHECK); slot && looked_at < CHECKS_PER_TURN;
	     slot = next) {
		struct slot_link *link = &slot->queued[SLOT_QUEUE_CHECK];

		next = link->next;
		looked_at++;
		if (link->due_ns > now_ns)
			continue;
		slot_queue_remove(helper->slots, slot, SLOT_QUEUE_CHECK);
		roll_add(&roll, slot);
	}
	roll_call(&roll);
	if (slot_queue_first(helper->slots, SLOT_QUEUE_CHECK))
		loop_timer_set(helper->loop, timer, now_ns + CHECK_FIRST_NS);
}

bool retire_make_room(struct helper *helper)
{
	uint32_t used = slots_used(helper->slots);
	struct slot *slot, *next;
	int looked_at = 0;

	if (loop_now_ns() - helper->pairing->looked_for_closed_ns > LOOK_IN_NEED_NS)
		pairing_look_for_all_closed(helper);
	for (slot = slot_queue_first(helper->slots, SLOT_QUEUE_CHECK); slot && looked_at < CHECKS_IN_NEED;
	     slot = next) {
		next = slot->queued[SLOT_QUEUE_CHECK].next;
		looked_at++;
		retire_check(helper, slot);
	}
	return slots_used(helper->slots) < used;
}

/* Nobody tells of the ends of an earlier helper when they are closed: the sweep alone finds them. */
static uint64_t sweep_period_ns(const struct slots *slots)
{
	uint32_t sweeps = slots_adopted(slots) / SWEEP_SLOTS;

	return SWEEP_NS / (sweeps < 1 ? 1 : sweeps > SWEEPS_MAX ? SWEEPS_MAX : sweeps);
}

void retire_sweep_start(struct helper *helper)
{
	if (!helper->pairing->sweep.due_ns)
		loop_timer_set(helper->loop, &helper->pairing->sweep, loop_now_ns() + sweep_period_ns(helper->slots));
}

void retire_sweep_expired(struct loop_timer *timer)
{
	struct helper *helper = loop_container(timer, struct pairing, sweep)->helper;
	struct roll roll = { .helper = helper, .then = withdraw_consider };
	uint64_t begin_ns;
	uint32_t count;

	pairing_look_for_all_closed(helper);
	begin_ns = loop_now_ns();
	count = slots_used(helper->slots);
	if (count > SWEEP_SLOTS)
		count = SWEEP_SLOTS;
	for (; count && slots_first(helper->slots); count--) {
		struct slot *slot = slots_first(helper->slots);

		slots_rotate(helper->slots);
		roll_add(&roll, slot);
		if (roll.count == 0 && loop_now_ns() - begin_ns > SWEEP_TURN_NS) /* they have just been called */
			break;
	}
	roll_call(&roll);
	if (slots_used(helper->slots)) /* else the loop sleeps until something happens */
		retire_sweep_start(helper);
}

/* ---- RETIRE ---- */

void pairing_look_for_closed(struct helper *helper, struct session *session)
{
	for (unsigned i = 0; i < MEMORY_RETIRED; i++) {
		_Atomic uint32_t *place = &session->memory->retired[i];
		uint32_t entry = atomic_load_explicit(place, memory_order_relaxed) ? atomic_exchange(place, 0) : 0;
		const struct registry_owner owner = { .session_id = session->id, .cell = entry >> 16 };
		struct registry_end *end = entry ? registry_find_owner(helper->registry, owner) : NULL;

		if (entry)
			trial_connection_closed(session, owner.cell, (uint16_t)entry);
		if (end && memory_retired(owner.cell, end->generation) == entry)
			pairing_forget_owner(helper, session, owner.cell);
	}
}

static void closed_visit(struct session *session, void *context)
{
	pairing_look_for_closed(context, session);
}

void pairing_look_for_all_closed(struct helper *helper)
{
	helper->pairing->looked_for_closed_ns = loop_now_ns();
	sessions_each(helper->sessions, closed_visit, helper);
}

int pairing_handle_retire(struct request *request)
{
	const struct wire_header *header = &request->message.header;
	const struct registry_owner owner = { .session_id = request->session->id, .cell = header->cell };
	struct registry_end *end = registry_find_owner(request->helper->registry, owner);

	if (request->message.retire.cookie)
		trial_connection_closed(request->session, header->cell, (uint16_t)header->generation);
	/* Only what this very session owns is found. The socket is about to be closed, or just was. */
	if (end && end->generation == header->generation)
		pairing_forget_owner(request->helper, request->session, header->cell);
	return 0;
}
