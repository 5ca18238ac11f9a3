
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "mapi_session.h"


#define mapi_session_copy(text, str)                                          \
    (text)->len = mapi_session_cut((text)->data, sizeof((text)->data), str)


static unsigned char mapi_session_cut(unsigned char *dst, size_t size,
    const mapi_str_t *src);
static void mapi_session_deactivate(mapi_session_t *s,
    const mapi_session_done_t *op);
static int mapi_session_same(const unsigned char *text, size_t len,
    size_t size, const mapi_str_t *str);
static const mapi_session_op_t *mapi_session_ring(const mapi_session_op_t *ops,
    unsigned size, unsigned at, unsigned n, unsigned i);


void
mapi_session_describe(mapi_session_t *s, const mapi_session_who_t *who)
{
    s->has_mailbox = (who->mailbox != NULL);

    if (who->mailbox) {
        s->mailbox = *who->mailbox;
    }

    s->endpoint = (unsigned char) who->endpoint;
    s->scheme = (unsigned char) who->scheme;

    mapi_session_copy(&s->anchor, &who->anchor);
    mapi_session_copy(&s->upstream, &who->upstream);
    mapi_session_copy(&s->server, &who->server);
    mapi_session_copy(&s->address, &who->address);
    mapi_session_copy(&s->application, &who->application);
    mapi_session_copy(&s->agent, &who->agent);
    mapi_session_copy(&s->user, &who->user);
}


static unsigned char
mapi_session_cut(unsigned char *dst, size_t size, const mapi_str_t *src)
{
    size_t  len;

    len = src->len;

    if (len > size) {
        len = size;

        while (len && (src->data[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    if (len) {
        memcpy(dst, src->data, len);
    }

    return (unsigned char) len;
}


int
mapi_session_is_active(const mapi_session_t *s)
{
    unsigned  i;

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {
        if (s->active[i].worker) {
            return 1;
        }
    }

    return 0;
}


void
mapi_session_start(mapi_session_t *s, const mapi_session_done_t *op)
{
    unsigned                i;
    mapi_session_active_t  *slot;

    slot = &s->active[0];

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {

        if (s->active[i].worker == 0) {
            slot = &s->active[i];
            break;
        }

        if (s->active[i].start < slot->start) {
            slot = &s->active[i];
        }
    }

    slot->start = op->start;
    slot->worker = op->worker;
    mapi_session_copy(&slot->type, &op->type);
    mapi_session_copy(&slot->id, &op->id);
}


void
mapi_session_finish(mapi_session_t *s, const mapi_session_done_t *op)
{
    mapi_session_op_t  *o;

    if (op->worker) {
        mapi_session_deactivate(s, op);
    }

    s->requests++;
    s->received += op->received;
    s->sent += op->sent;

    if (op->code > 0 || op->status < 100 || op->status > 399 || op->closed) {
        s->failures++;

        o = &s->failed[s->at_failed % MAPI_SESSION_FAILED];
        s->at_failed = (s->at_failed + 1) % MAPI_SESSION_FAILED;
        s->nfailed += (s->nfailed < MAPI_SESSION_FAILED);

    } else {
        o = &s->completed[s->at_completed % MAPI_SESSION_COMPLETED];
        s->at_completed = (s->at_completed + 1) % MAPI_SESSION_COMPLETED;
        s->ncompleted += (s->ncompleted < MAPI_SESSION_COMPLETED);
    }

    o->start = op->start;
    o->duration = op->duration;
    o->pending = op->pending;
    o->code = (int16_t) (op->code > INT16_MAX ? INT16_MAX : op->code);
    o->status = (uint16_t) op->status;
    o->closed = (unsigned char) op->closed;
    mapi_session_copy(&o->type, &op->type);
    mapi_session_copy(&o->id, &op->id);
}


static void
mapi_session_deactivate(mapi_session_t *s, const mapi_session_done_t *op)
{
    unsigned                i;
    mapi_session_active_t  *a;

    for (i = 0; i < MAPI_SESSION_ACTIVE; i++) {
        a = &s->active[i];

        if (a->worker == op->worker && a->start == op->start
            && mapi_session_same(a->type.data, a->type.len,
                                 sizeof(a->type.data), &op->type)
            && mapi_session_same(a->id.data, a->id.len, sizeof(a->id.data),
                                 &op->id))
        {
            a->worker = 0;
            return;
        }
    }
}


static int
mapi_session_same(const unsigned char *text, size_t len, size_t size,
    const mapi_str_t *str)
{
    if (len > size || len > str->len) {
        return 0;
    }

    return (len == str->len || str->len > size)
           && memcmp(text, str->data, len) == 0;
}


/* copies are read, too: what a dead process left half made has bounds */

static const mapi_session_op_t *
mapi_session_ring(const mapi_session_op_t *ops, unsigned size, unsigned at,
    unsigned n, unsigned i)
{
    if (i >= n || i >= size) {
        return NULL;
    }

    return &ops[(at % size + 2 * size - 1 - i) % size];
}


const mapi_session_op_t *
mapi_session_completed(const mapi_session_t *s, unsigned i)
{
    return mapi_session_ring(s->completed, MAPI_SESSION_COMPLETED,
                             s->at_completed, s->ncompleted, i);
}


const mapi_session_op_t *
mapi_session_failed(const mapi_session_t *s, unsigned i)
{
    return mapi_session_ring(s->failed, MAPI_SESSION_FAILED, s->at_failed,
                             s->nfailed, i);
}
