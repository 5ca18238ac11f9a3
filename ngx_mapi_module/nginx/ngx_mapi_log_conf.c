
/*
 * Copyright (C) the ngx_mapi_module authors
 */


#include "ngx_mapi_module.h"
#include "ngx_mapi_log_file.h"

#include <grp.h>


#define NGX_MAPI_LOG_BUFFER_MAX  (16 * 1024 * 1024)
#define NGX_MAPI_LOG_FILE_MIN    (64 * 1024)
#define NGX_MAPI_LOG_GROUPS      64


typedef struct {
    ngx_str_t    name;
    ngx_int_t  (*set)(ngx_mapi_log_options_t *options, ngx_str_t *value);
    const char  *hint;
} ngx_mapi_log_option_t;


static char *ngx_mapi_log_parse(ngx_conf_t *cf,
    ngx_mapi_log_options_t *options);
static ngx_int_t ngx_mapi_log_set_columns(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_version(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_max_file(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_max_folder(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_max_age(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_buffer(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_set_flush(ngx_mapi_log_options_t *options,
    ngx_str_t *value);
static ngx_int_t ngx_mapi_log_size(ngx_str_t *value, off_t *size);
static ngx_int_t ngx_mapi_log_path(ngx_conf_t *cf, ngx_str_t *path);
static ngx_int_t ngx_mapi_log_make(ngx_conf_t *cf, ngx_str_t *path,
    ngx_file_info_t *fi);
static ngx_uint_t ngx_mapi_log_is_same(ngx_mapi_log_options_t *a,
    ngx_mapi_log_options_t *b);
static void ngx_mapi_log_cleanup(void *data);
static void ngx_mapi_log_hook(ngx_cycle_t *cycle);
static ngx_int_t ngx_mapi_log_hand_over(ngx_cycle_t *cycle,
    ngx_core_conf_t *ccf, ngx_mapi_log_folder_t *folder);
static ngx_uint_t ngx_mapi_log_is_open_to(ngx_core_conf_t *ccf,
    struct stat *st);


static ngx_mapi_log_option_t  ngx_mapi_log_option[] = {

    { ngx_string("columns="), ngx_mapi_log_set_columns,
      "\"columns=74\" or \"columns=69\"" },

    { ngx_string("version="), ngx_mapi_log_set_version,
      "four numbers, such as \"version=15.2.1544.4\"" },

    { ngx_string("max_file="), ngx_mapi_log_set_max_file,
      "a size from 64k on, such as \"max_file=10m\", or \"max_file=off\"" },

    { ngx_string("max_folder="), ngx_mapi_log_set_max_folder,
      "a size from 64k on, such as \"max_folder=20g\", or "
      "\"max_folder=off\"" },

    { ngx_string("max_age="), ngx_mapi_log_set_max_age,
      "a time from 1h on, such as \"max_age=30d\", or \"max_age=off\"" },

    { ngx_string("buffer="), ngx_mapi_log_set_buffer,
      "a size from 32k to 16m, such as \"buffer=256k\"" },

    { ngx_string("flush="), ngx_mapi_log_set_flush,
      "a time from 10ms to 1h, such as \"flush=1s\"" },

    { ngx_null_string, NULL, NULL }
};


char *
ngx_mapi_set_log(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_mapi_loc_conf_t *mlcf = conf;

    ngx_str_t               *value;
    ngx_mapi_log_options_t   options;

    if (mlcf->log != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "takes nothing after \"off\"";
        }

        mlcf->log = NULL;
        return NGX_CONF_OK;
    }

    ngx_memzero(&options, sizeof(ngx_mapi_log_options_t));

    options.path = value[1];

    if (ngx_mapi_log_path(cf, &options.path) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_mapi_log_parse(cf, &options) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    mlcf->log = ngx_mapi_log_folder(cf, &options);

    return mlcf->log ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_mapi_log_parse(ngx_conf_t *cf, ngx_mapi_log_options_t *options)
{
    ngx_str_t              *value, s;
    ngx_uint_t              i, seen;
    ngx_mapi_log_option_t  *o;

    options->columns = MAPI_LOG_COLUMNS;
    options->max_file = 10 * 1024 * 1024;
    options->max_folder = (off_t) 20 * 1024 * 1024 * 1024;
    options->max_age = 30 * 24 * 3600;
    options->buffer = 256 * 1024;
    options->flush = 1000;

    value = cf->args->elts;
    seen = 0;

    for (i = 2; i < cf->args->nelts; i++) {

        for (o = ngx_mapi_log_option; o->name.len; o++) {
            if (ngx_strncmp(value[i].data, o->name.data, o->name.len) == 0) {
                break;
            }
        }

        if (o->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": write \"columns=\", "
                               "\"version=\", \"max_file=\", \"max_folder=\", "
                               "\"max_age=\", \"buffer=\" or \"flush=\"",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (seen & (1 << (o - ngx_mapi_log_option))) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"mapi_log\" has \"%V\" twice", &o->name);
            return NGX_CONF_ERROR;
        }

        seen |= 1 << (o - ngx_mapi_log_option);

        s.data = value[i].data + o->name.len;
        s.len = value[i].len - o->name.len;

        if (o->set(options, &s) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\": write %s",
                               &value[i], o->hint);
            return NGX_CONF_ERROR;
        }
    }

    if (options->max_folder && options->max_file > options->max_folder) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"max_folder\" of \"mapi_log\" is smaller than "
                           "\"max_file\": write a larger \"max_folder\"");
        return NGX_CONF_ERROR;
    }

    /* a version that has this list of columns */

    if (options->version.part[0] == 0) {
        options->version.part[0] = 15;

        if (options->columns == MAPI_LOG_COLUMNS) {
            options->version.part[1] = 2;
            options->version.part[2] = 1544;
            options->version.part[3] = 4;

        } else {
            options->version.part[2] = 1497;
            options->version.part[3] = 12;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_mapi_log_set_columns(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    options->columns = (ngx_uint_t) ngx_atoi(value->data, value->len);

    return options->columns == MAPI_LOG_COLUMNS
           || options->columns == MAPI_LOG_COLUMNS_OLD ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_mapi_log_set_version(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    if (mapi_log_version_parse(&options->version, value->data, value->len)
        != MAPI_OK
        || options->version.part[0] == 0)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_log_set_max_file(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    return ngx_mapi_log_size(value, &options->max_file);
}


static ngx_int_t
ngx_mapi_log_set_max_folder(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    return ngx_mapi_log_size(value, &options->max_folder);
}


static ngx_int_t
ngx_mapi_log_size(ngx_str_t *value, off_t *size)
{
    if (ngx_strcmp(value->data, "off") == 0) {
        *size = 0;
        return NGX_OK;
    }

    *size = ngx_parse_offset(value);

    return *size >= NGX_MAPI_LOG_FILE_MIN ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_mapi_log_set_max_age(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    if (ngx_strcmp(value->data, "off") == 0) {
        options->max_age = 0;
        return NGX_OK;
    }

    options->max_age = ngx_parse_time(value, 1);

    return options->max_age != (time_t) NGX_ERROR && options->max_age >= 3600
           ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_mapi_log_set_buffer(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    ssize_t  size;

    size = ngx_parse_size(value);

    if (size < MAPI_LOG_ROW_MAX || size > NGX_MAPI_LOG_BUFFER_MAX) {
        return NGX_ERROR;
    }

    options->buffer = size;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_log_set_flush(ngx_mapi_log_options_t *options, ngx_str_t *value)
{
    ngx_int_t  flush;

    flush = ngx_parse_time(value, 0);

    if (flush < 10 || flush > 3600 * 1000) {
        return NGX_ERROR;
    }

    options->flush = flush;

    return NGX_OK;
}


static ngx_int_t
ngx_mapi_log_path(ngx_conf_t *cf, ngx_str_t *path)
{
    if (path->len == 0 || ngx_strlchr(path->data, path->data + path->len, '$'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid folder \"%V\" of \"mapi_log\": write the "
                           "path of a folder, without variables, or \"off\"",
                           path);
        return NGX_ERROR;
    }

    if (ngx_conf_full_name(cf->cycle, path, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    while (path->len > 1 && path->data[path->len - 1] == '/') {
        path->data[--path->len] = '\0';
    }

    if (path->len > MAPI_LOG_PATH_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the path of \"mapi_log\" is too long: write one "
                           "of up to %d characters", MAPI_LOG_PATH_MAX);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_mapi_log_folder_t *
ngx_mapi_log_folder(ngx_conf_t *cf, ngx_mapi_log_options_t *options)
{
    ngx_uint_t              i;
    ngx_file_info_t         fi;
    ngx_pool_cleanup_t     *cln;
    ngx_mapi_main_conf_t   *mmcf;
    ngx_mapi_log_folder_t  *folder, **folders;

    if (ngx_mapi_log_make(cf, &options->path, &fi) != NGX_OK) {
        return NULL;
    }

    mmcf = ngx_http_conf_get_module_main_conf(cf, ngx_mapi_module);
    folders = mmcf->logs.elts;

    /* whatever path leads there */

    for (i = 0; i < mmcf->logs.nelts; i++) {
        folder = folders[i];

        if (folder->dev != fi.st_dev || folder->ino != fi.st_ino) {
            continue;
        }

        if (ngx_mapi_log_is_same(&folder->options, options)) {
            return folder;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"mapi_log\" with the same folder \"%V\" stands "
                           "in %V:%ui with other options: write the same ones "
                           "in both places",
                           &options->path, &folder->file, folder->line);
        return NULL;
    }

    folder = ngx_pcalloc(cf->pool, sizeof(ngx_mapi_log_folder_t));
    folders = ngx_array_push(&mmcf->logs);
    cln = ngx_pool_cleanup_add(cf->pool, 0);

    if (folder == NULL || folders == NULL || cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_mapi_log_cleanup;
    cln->data = folder;

    folder->options = *options;
    folder->file = cf->conf_file->file.name;
    folder->line = cf->conf_file->line;
    folder->dev = fi.st_dev;
    folder->ino = fi.st_ino;

    *folders = folder;

    return folder;
}


static ngx_int_t
ngx_mapi_log_make(ngx_conf_t *cf, ngx_str_t *path, ngx_file_info_t *fi)
{
    ngx_err_t  err;

    err = ngx_create_dir(path->data, 0750) == NGX_FILE_ERROR ? ngx_errno : 0;

    if (err == NGX_ENOENT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the folder above \"%V\" of \"mapi_log\" does not "
                           "exist: run \"mkdir -p $(dirname '%V')\" first",
                           path, path);
        return NGX_ERROR;
    }

    if (err && err != NGX_EEXIST) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "\"%V\" of \"mapi_log\" cannot be made, make it "
                           "by hand for the workers' user: " ngx_create_dir_n
                           " failed", path);
        return NGX_ERROR;
    }

    if (ngx_file_info(path->data, fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_file_info_n " \"%V\" failed", path);
        return NGX_ERROR;
    }

    if (!ngx_is_dir(fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" of \"mapi_log\" is a file: write the path "
                           "of a folder, or remove it", path);
        return NGX_ERROR;
    }

    /* root's workers are somebody else: see ngx_mapi_log_hand_over() */

    if (geteuid() != 0
        && access((char *) path->data, R_OK|W_OK|X_OK) == -1)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "\"%V\" of \"mapi_log\" cannot be written to: as "
                           "root run \"chown %ui '%V'\"",
                           path, (ngx_uint_t) geteuid(), path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_mapi_log_is_same(ngx_mapi_log_options_t *a, ngx_mapi_log_options_t *b)
{
    return a->columns == b->columns
           && ngx_memcmp(&a->version, &b->version, sizeof(mapi_log_version_t))
              == 0
           && a->max_file == b->max_file
           && a->max_folder == b->max_folder
           && a->max_age == b->max_age
           && a->buffer == b->buffer
           && a->flush == b->flush;
}


/* without a master process an old cycle ends while its process goes on */

static void
ngx_mapi_log_cleanup(void *data)
{
    ngx_mapi_log_folder_t *folder = data;

    if (folder->worker) {
        ngx_mapi_log_close(folder->worker);
    }
}


ngx_int_t
ngx_mapi_log_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t               i;
    ngx_core_conf_t         *ccf;
    ngx_mapi_main_conf_t    *mmcf;
    ngx_mapi_log_folder_t  **folders;

    mmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_mapi_module);

    if (mmcf == NULL || mmcf->logs.nelts == 0) {
        return NGX_OK;
    }

    ngx_mapi_log_hook(cycle);

    /* here and not before, for "user" may stand behind "http" */

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT) {
        return NGX_OK;
    }

    folders = mmcf->logs.elts;

    for (i = 0; i < mmcf->logs.nelts; i++) {

        /* an error here would end a server that is being reloaded */

        if (ngx_mapi_log_hand_over(cycle, ccf, folders[i]) != NGX_OK
            && ngx_test_config)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * A worker learns of USR1 by the files that it opens again then, and none of
 * ours may be among these: the master opens them by name as root and gives
 * them to the workers' user, so a worker that was taken over could have any
 * file by putting a link into the folder.  So we go along with a file that is
 * opened again anyway, most often the error log.  Without one, rows are
 * written in time all the same, and a file that was renamed is seen then.
 */

static void
ngx_mapi_log_hook(ngx_cycle_t *cycle)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_open_file_t  *file;

    part = &cycle->open_files.part;
    file = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            file = part->elts;
            i = 0;
        }

        if (file[i].name.len && file[i].flush == NULL) {
            file[i].flush = ngx_mapi_log_flush;
            break;
        }
    }
}


static ngx_int_t
ngx_mapi_log_hand_over(ngx_cycle_t *cycle, ngx_core_conf_t *ccf,
    ngx_mapi_log_folder_t *folder)
{
    int          fd;
    ngx_err_t    err;
    ngx_str_t   *path;
    struct stat  st;

    path = &folder->options.path;

    if (stat((char *) path->data, &st) == 0
        && ngx_mapi_log_is_open_to(ccf, &st))
    {
        return NGX_OK;
    }

    /* a link could lead anywhere by now */

    err = 0;
    fd = open((char *) path->data, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

    /* a group that somebody has chosen is the one that reads the files */

    if (fd == -1
        || fstat(fd, &st) == -1
        || fchown(fd, ccf->user, st.st_gid == 0 ? ccf->group : (gid_t) -1)
           == -1
        || ((st.st_mode & S_IRWXU) != S_IRWXU
            && fchmod(fd, (st.st_mode & 07777) | S_IRWXU) == -1))
    {
        err = ngx_errno;

        ngx_log_error(NGX_LOG_ERR, cycle->log, err,
                      "mapi: the folder \"%V\" of mapi_log cannot be handed "
                      "over to the workers' user: run \"chown %s '%V/'\"",
                      path, ccf->username ? ccf->username : "nobody", path);
    }

    if (fd != -1) {
        (void) close(fd);
    }

    return err == 0 ? NGX_OK : NGX_ERROR;
}


/* by the mode of the folder; a list of access rights may say otherwise */

static ngx_uint_t
ngx_mapi_log_is_open_to(ngx_core_conf_t *ccf, struct stat *st)
{
    int    i, n;
    gid_t  groups[NGX_MAPI_LOG_GROUPS];

    if (ccf->user == 0) {
        return 1;
    }

    if (st->st_uid == ccf->user) {
        return (st->st_mode & S_IRWXU) == S_IRWXU;
    }

    groups[0] = ccf->group;
    n = NGX_MAPI_LOG_GROUPS;

    if (ccf->username == NULL
        || getgrouplist(ccf->username, ccf->group, groups, &n) == -1)
    {
        n = 1;
    }

    for (i = 0; i < n; i++) {
        if (st->st_gid == groups[i]) {
            return (st->st_mode & S_IRWXG) == S_IRWXG;
        }
    }

    return (st->st_mode & S_IRWXO) == S_IRWXO;
}
