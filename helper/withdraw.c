/* SPDX-License-Identifier: BSD-2-Clause */
/* Pairs that do not pay go back to plain TCP: at the wish of an end, or because the counters say so.
 *
 * A message that passes through a joined socket costs more than one on plain TCP (fact 16), so a pair that mostly passes is
 * better out: a sender that does not wait and keeps spilling, a reader with a small SO_RCVBUF. The sweep compares what each
 * armed pair redirected and passed since its last look (paying.h). It also tries again what could not leave before (the reader did not
 * read), so that nothing stays pinned longer than it must.
 *
 * An owner learns of it by CELL_TAKEN_OUT, keeps away for a while and offers anew (preload/admission.h).
 */
#include <errno.h>

#include "pairing_internal.h"

static struct paying_counts look(const struct sm_direction *direction)
{
	return (struct paying_counts){
		.redirected = __atomic_load_n(&direction->redirected_msgs, __ATOMIC_RELAXED),
		.passed = __atomic_load_n(&direction->passed_msgs, __ATOMIC_RELAXED),
		.busy = __atomic_load_n(&direction->busy_passes, __ATOMIC_RELAXED),
	};
}

void withdraw_look(struct slot *slot)
{
	for (int side = 0; side < SM_SIDES; side++)
		slot->seen[side] = look(&slot->shared->direction[side]);
}

/* What came since the last look, which this is. */
static void look_again(struct slot *slot, struct paying_counts grown[SM_SIDES])
{
	for (int side = 0; side < SM_SIDES; side++) {
		struct paying_counts before = slot->seen[side], now = look(&slot->shared->direction[side]);

		grown[side] = (struct paying_counts){
			.redirected = now.redirected - before.redirected,
			.passed = now.passed - before.passed,
			.busy = now.busy - before.busy,
		};
		slot->seen[side] = now;
	}
}

void pairing_switched_on(struct helper *helper)
{
	for (struct slot *slot = slots_first(helper->slots); slot; slot = slot->used_next)
		withdraw_look(slot);
}

void withdraw_consider(struct helper *helper, struct slot *slot)
{
	static const bool keep[SM_SIDES] = { true, true }, forget[SM_SIDES] = { false, false };
	struct paying_counts grown[SM_SIDES];

	if (slot->shared->state != SM_SLOT_ARMED || !slot->end[0] || !slot->end[1])
		return;
	if (slot->shared->pins) {
		leave_unwaited(helper, slot, LEAVE_OF_SWEEP, slot->shared->pin_reason, REASON_LEFT, keep);
		return;
	}
	look_again(slot, grown);
	if (helper->switches->off || (!paying_mostly_passes(grown) && !paying_meets_at_work(grown)))
		return;
	helper->refusals[REASON_SPILLS]++;
	leave_unwaited(helper, slot, LEAVE_OF_SWEEP, REASON_SPILLS, REASON_SPILLS, forget);
}

/* No fd is needed: the session itself joined that end, and whoever speaks on it can hurt only its own connections. */
int pairing_handle_withdraw(struct request *request)
{
	const struct wire_pin *message = &request->message.pin;
	const struct registry_owner owner = { .session_id = request->session->id, .cell = message->header.cell };
	struct registry_end *end = registry_find_owner(request->helper->registry, owner);
	struct slot *slot;
	bool keep_offer[SM_SIDES];

	if (!pin_may_say(request->helper, message->reason))
		return -EPROTO;
	if (!end || end->state != END_JOINED || end->generation != message->header.generation ||
	    end->cookie != message->cookie)
		return 0; /* it is out already */
	slot = slot_at(request->helper->slots, end->slot);
	if (slot->shared->state == SM_SLOT_FREE)
		return 0;
	keep_offer[end->side] = false;
	keep_offer[!end->side] = true;
	leave_unwaited(request->helper, slot, request->session->channel.uid, message->reason, REASON_LEFT, keep_offer);
	return 0;
}
