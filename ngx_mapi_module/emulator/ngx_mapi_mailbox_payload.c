
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_mailbox_module.h"


#define NGX_MAPI_E  NGX_MAPI_TYPE_EMSMDB
#define NGX_MAPI_N  NGX_MAPI_TYPE_NSPI
#define NGX_MAPI_S  NGX_MAPI_TYPE_SEQUENCED

/* text in a payload is cut to this many characters */
#define NGX_MAPI_MAILBOX_TEXT_MAX  512


/* [MS-OXCMAPIHTTP] 2.2.3.3.1, and what Exchange takes besides */
const ngx_mapi_mailbox_type_t
    ngx_mapi_mailbox_types[NGX_MAPI_MAILBOX_NTYPES] =
{
    { ngx_string("PING"), NGX_MAPI_E|NGX_MAPI_N|NGX_MAPI_TYPE_PING,
      ngx_mapi_payload_none },

    { ngx_string("Connect"), NGX_MAPI_E|NGX_MAPI_TYPE_OPEN,
      ngx_mapi_payload_connect },
    { ngx_string("Execute"), NGX_MAPI_E|NGX_MAPI_S,
      ngx_mapi_payload_execute },
    { ngx_string("Disconnect"), NGX_MAPI_E|NGX_MAPI_S|NGX_MAPI_TYPE_CLOSE,
      ngx_mapi_payload_status },
    { ngx_string("NotificationWait"), NGX_MAPI_E|NGX_MAPI_TYPE_WAIT,
      ngx_mapi_payload_wait },
    { ngx_string("Dummy"), NGX_MAPI_E|NGX_MAPI_TYPE_FREE,
      ngx_mapi_payload_status },
    { ngx_string("EcDoConnectEx"), NGX_MAPI_E|NGX_MAPI_TYPE_OPEN,
      ngx_mapi_payload_connect },
    { ngx_string("EcDoRpcExt2"), NGX_MAPI_E|NGX_MAPI_S,
      ngx_mapi_payload_execute },
    { ngx_string("EcDoDisconnect"), NGX_MAPI_E|NGX_MAPI_S|NGX_MAPI_TYPE_CLOSE,
      ngx_mapi_payload_status },
    { ngx_string("EcDoAsyncWaitEx"), NGX_MAPI_E|NGX_MAPI_TYPE_WAIT,
      ngx_mapi_payload_wait },
    { ngx_string("EcDoDummy"), NGX_MAPI_E|NGX_MAPI_TYPE_FREE,
      ngx_mapi_payload_status },

    { ngx_string("Bind"), NGX_MAPI_N|NGX_MAPI_TYPE_OPEN,
      ngx_mapi_payload_bind },
    { ngx_string("Unbind"), NGX_MAPI_N|NGX_MAPI_S|NGX_MAPI_TYPE_CLOSE,
      ngx_mapi_payload_unbind },
    { ngx_string("CompareMIds"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("DNToMId"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("GetMatches"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("GetPropList"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("GetProps"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("GetSpecialTable"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("GetTemplateInfo"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("ModLinkAtt"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("ModProps"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("QueryRows"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("QueryColumns"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("ResolveNames"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("ResortRestriction"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("SeekEntries"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("UpdateStat"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("CompareDNTs"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },
    { ngx_string("CompareMinIds"), NGX_MAPI_N|NGX_MAPI_S,
      ngx_mapi_payload_status },

    /* the referral service has no contexts */
    { ngx_string("GetMailboxUrl"), NGX_MAPI_N|NGX_MAPI_TYPE_FREE,
      ngx_mapi_payload_url },
    { ngx_string("GetAddressBookUrl"), NGX_MAPI_N|NGX_MAPI_TYPE_FREE,
      ngx_mapi_payload_url },
    { ngx_string("GetNspiUrl"), NGX_MAPI_N|NGX_MAPI_TYPE_FREE,
      ngx_mapi_payload_url }
};


static u_char *ngx_mapi_mailbox_u32(u_char *p, uint32_t n);
static u_char *ngx_mapi_mailbox_utf16(u_char *p, const ngx_str_t *s);
static u_char *ngx_mapi_mailbox_url(ngx_mapi_mailbox_ctx_t *ctx, u_char *p);


/*
 * The fields that every answer of its kind begins with ([MS-OXCMAPIHTTP]
 * 2.2.4 and 2.2.5); no ROP or NSPI buffers that a client could use.
 */
ngx_int_t
ngx_mapi_mailbox_payload(ngx_mapi_mailbox_ctx_t *ctx, ngx_str_t *payload)
{
    u_char      *p;
    ngx_uint_t   i;

    payload->len = 0;

    if (ctx->type->payload == ngx_mapi_payload_none) {
        payload->data = NULL;
        return NGX_OK;
    }

    p = ngx_pnalloc(ctx->request->pool,
                    64 + 2 * (NGX_MAPI_MAILBOX_TEXT_MAX + 1));
    if (p == NULL) {
        return NGX_ERROR;
    }

    payload->data = p;

    p = ngx_mapi_mailbox_u32(p, 0);                       /* StatusCode */
    p = ngx_mapi_mailbox_u32(p, ctx->type->payload
                                == ngx_mapi_payload_unbind);

    switch (ctx->type->payload) {

    case ngx_mapi_payload_connect:
        p = ngx_mapi_mailbox_u32(p, 60000);               /* PollsMax */
        p = ngx_mapi_mailbox_u32(p, 6);                   /* RetryCount */
        p = ngx_mapi_mailbox_u32(p, 10000);               /* RetryDelay */
        *p++ = '\0';                                      /* DnPrefix */
        p = ngx_mapi_mailbox_utf16(p, &ctx->display);     /* DisplayName */
        break;

    case ngx_mapi_payload_execute:
        p = ngx_mapi_mailbox_u32(p, 0);                   /* Flags */
        p = ngx_mapi_mailbox_u32(p, 10);                  /* RopBufferSize */
        p = ngx_mapi_mailbox_u32(p, 0x00040000);          /* version, Last */
        p = ngx_mapi_mailbox_u32(p, 0x00020002);          /* Size twice */
        *p++ = 2;                                         /* no ROP */
        *p++ = 0;
        break;

    case ngx_mapi_payload_wait:
        p = ngx_mapi_mailbox_u32(p, ctx->events);         /* EventPending */
        break;

    case ngx_mapi_payload_bind:
        for (i = 0; i < 4; i++) {                         /* ServerGuid */
            p = ngx_mapi_mailbox_u32(p, ngx_crc32_long(ctx->machine.data,
                                                       ctx->machine.len) + i);
        }
        break;

    case ngx_mapi_payload_url:
        p = ngx_mapi_mailbox_url(ctx, p);
        break;

    default:
        break;
    }

    p = ngx_mapi_mailbox_u32(p, 0);                       /* no auxiliary */

    payload->len = p - payload->data;

    return NGX_OK;
}


static u_char *
ngx_mapi_mailbox_u32(u_char *p, uint32_t n)
{
    *p++ = (u_char) n;
    *p++ = (u_char) (n >> 8);
    *p++ = (u_char) (n >> 16);
    *p++ = (u_char) (n >> 24);

    return p;
}


/* bytes beyond ASCII become "?": nobody reads these texts but people */
static u_char *
ngx_mapi_mailbox_utf16(u_char *p, const ngx_str_t *s)
{
    size_t  i, len;

    len = ngx_min(s->len, NGX_MAPI_MAILBOX_TEXT_MAX);

    for (i = 0; i < len; i++) {
        *p++ = (s->data[i] < 0x80) ? s->data[i] : '?';
        *p++ = '\0';
    }

    *p++ = '\0';
    *p++ = '\0';

    return p;
}


static u_char *
ngx_mapi_mailbox_url(ngx_mapi_mailbox_ctx_t *ctx, u_char *p)
{
    u_char               buf[NGX_MAPI_MAILBOX_TEXT_MAX];
    ngx_str_t            url;
    const char          *endpoint;
    ngx_http_request_t  *r;

    r = ctx->request;

    endpoint = (ctx->type->name.len == sizeof("GetMailboxUrl") - 1)
               ? "emsmdb" : "nspi";

    url.data = buf;
    url.len = ngx_snprintf(buf, sizeof(buf), "https://%V/mapi/%s/?%V",
                           &r->headers_in.server, endpoint, &r->args)
              - buf;

    return ngx_mapi_mailbox_utf16(p, &url);
}
