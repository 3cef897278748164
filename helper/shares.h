/* SPDX-License-Identifier: BSD-2-Clause */
/* Shares: how much of the loop's time each user's requests may take. Root's are not counted. */
#ifndef SMACCEL_HELPER_SHARES_H
#define SMACCEL_HELPER_SHARES_H

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct loop;
struct shares;

struct shares *shares_new(struct loop *loop); /* NULL: out of memory */
void shares_free(struct shares *shares);      /* after the channels are closed */

/* Whether the channel may be served now. If not, it is not watched until its user's time has come, or nobody else wants it. */
bool shares_may_serve(struct shares *shares, struct channel *channel, bool *is_charged);
/* It was served since begin_ns, and may be closed by now. Or that user's ends were looked at for so long. */
void shares_charge(struct shares *shares, uint32_t uid, uint64_t begin_ns);
/* Has that user had his share? What can wait for it is not done now. */
bool shares_are_used_up(const struct shares *shares, uint32_t uid);
/* Since begin_ns the loop may have been kept waiting by something that was that user's alone. After a wait that matters he is held back: he is
 * not served for several times as long, whether anybody else wants the time or not. */
void shares_hold_back(struct shares *shares, uint32_t uid, uint64_t begin_ns);
bool shares_are_held_back(const struct shares *shares, uint32_t uid);
/* It is being closed. */
void shares_forget(struct shares *shares, struct channel *channel);

#endif
