/*
 * The two things that the executable needs and QuickJS does not have: standard input read to its end within a limit of
 * bytes and time, and one exchange over a unix stream socket within limits of bytes, silence and time.
 * Failures are thrown as Error with a message that begins with the errno's name or with LIMIT or TIMEOUT.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "quickjs.h"

typedef struct {
    char *data;
    size_t length;
    size_t capacity;
} Bytes;

static int64_t now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static JSValue throw_errno(JSContext *ctx, const char *call, int number)
{
    const char *name = strerrorname_np(number);
    return JS_ThrowInternalError(ctx, "%s: %s: %s", name ? name : "EUNKNOWN", call, strerror(number));
}

/* Waits for `events` until `deadline`: 1 ready, 0 time over, -1 errno. */
static int wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - now_ms();
        struct pollfd entry = { .fd = fd, .events = events };
        int ready;

        if (left < 0)
            return 0;
        ready = poll(&entry, 1, (int)left);
        if (ready >= 0)
            return ready > 0;
        if (errno != EINTR)
            return -1;
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Reads `fd` to its end. Any byte postpones the end of the silence; `total` is the end of everything. */
static JSValue read_all(JSContext *ctx, int fd, Bytes *bytes, int64_t silence, int64_t total, size_t limit)
{
    for (;;) {
        ssize_t got;
        int ready = wait_for(fd, POLLIN, earlier(now_ms() + silence, total));

        if (ready < 0)
            return throw_errno(ctx, "poll", errno);
        if (ready == 0)
            return JS_ThrowInternalError(ctx, "TIMEOUT: nothing to read");
        if (bytes->length == bytes->capacity) {
            size_t capacity = bytes->capacity ? bytes->capacity * 2 : 8192;
            char *data = realloc(bytes->data, capacity);
            if (!data)
                return JS_ThrowOutOfMemory(ctx);
            bytes->data = data;
            bytes->capacity = capacity;
        }
        got = read(fd, bytes->data + bytes->length, bytes->capacity - bytes->length);
        if (got == 0)
            return JS_UNDEFINED;
        if (got < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return throw_errno(ctx, "read", errno);
        }
        bytes->length += (size_t)got;
        if (bytes->length > limit)
            return JS_ThrowInternalError(ctx, "LIMIT: more than %zu bytes", limit);
    }
}

static JSValue take_string(JSContext *ctx, Bytes *bytes, JSValue outcome)
{
    JSValue text = outcome;
    if (!JS_IsException(outcome))
        text = JS_NewStringLen(ctx, bytes->data ? bytes->data : "", bytes->length);
    free(bytes->data);
    return text;
}

/* readInput(maxBytes, milliseconds): string */
static JSValue read_input(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    int64_t limit, time;
    Bytes bytes = { 0 };

    if (JS_ToInt64(ctx, &limit, argv[0]) || JS_ToInt64(ctx, &time, argv[1]))
        return JS_EXCEPTION;
    return take_string(ctx, &bytes, read_all(ctx, STDIN_FILENO, &bytes, time, now_ms() + time, (size_t)limit));
}

static JSValue send_all(JSContext *ctx, int fd, const char *data, size_t length, int64_t deadline)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            data += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            int ready = wait_for(fd, POLLOUT, deadline);
            if (ready < 0)
                return throw_errno(ctx, "poll", errno);
            if (ready == 0)
                return JS_ThrowInternalError(ctx, "TIMEOUT: the request is not taken");
        } else if (errno == EPIPE || errno == ECONNRESET) {
            /* The other end may have refused before it had read everything: its answer counts. */
            return JS_UNDEFINED;
        } else if (errno != EINTR) {
            return throw_errno(ctx, "send", errno);
        }
    }
    return JS_UNDEFINED;
}

/* exchange(path, request, silenceMilliseconds, totalMilliseconds, maxBytes): string */
static JSValue exchange(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience;
    int64_t silence, total, limit, start = now_ms();
    size_t path_length = 0, length = 0;
    const char *path = NULL, *request = NULL;
    JSValue outcome = JS_EXCEPTION;
    Bytes bytes = { 0 };
    int fd = -1;

    if (JS_ToInt64(ctx, &silence, argv[2]) || JS_ToInt64(ctx, &total, argv[3]) || JS_ToInt64(ctx, &limit, argv[4]))
        return JS_EXCEPTION;
    path = JS_ToCStringLen(ctx, &path_length, argv[0]);
    request = JS_ToCStringLen(ctx, &length, argv[1]);
    if (!path || !request)
        goto out;
    if (path_length >= sizeof address.sun_path) {
        outcome = throw_errno(ctx, "connect", ENAMETOOLONG);
        goto out;
    }
    memcpy(address.sun_path, path, path_length);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        outcome = throw_errno(ctx, "socket", errno);
        goto out;
    }
    /* A full backlog makes connect wait; this is its limit. */
    patience.tv_sec = silence / 1000;
    patience.tv_usec = silence % 1000 * 1000;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        outcome = errno == EAGAIN ? JS_ThrowInternalError(ctx, "TIMEOUT: the connection is not taken")
                                  : throw_errno(ctx, "connect", errno);
        goto out;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    outcome = send_all(ctx, fd, request, length, start + silence);
    if (!JS_IsException(outcome)) {
        /* What waiting for the connection took is taken off the first silence, to keep the whole within it. */
        int ready = wait_for(fd, POLLIN, start + silence);
        if (ready < 0)
            outcome = throw_errno(ctx, "poll", errno);
        else if (ready == 0)
            outcome = JS_ThrowInternalError(ctx, "TIMEOUT: no answer");
        else
            outcome = read_all(ctx, fd, &bytes, silence, start + total, (size_t)limit);
    }
out:
    if (fd >= 0)
        close(fd);
    if (path)
        JS_FreeCString(ctx, path);
    if (request)
        JS_FreeCString(ctx, request);
    return take_string(ctx, &bytes, outcome);
}

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_DEF("readInput", 2, read_input),
    JS_CFUNC_DEF("exchange", 5, exchange),
};

static int init(JSContext *ctx, JSModuleDef *module)
{
    return JS_SetModuleExportList(ctx, module, functions, sizeof functions / sizeof functions[0]);
}

JSModuleDef *js_init_module_uds(JSContext *ctx, const char *name)
{
    JSModuleDef *module = JS_NewCModule(ctx, name, init);
    if (module)
        JS_AddModuleExportList(ctx, module, functions, sizeof functions / sizeof functions[0]);
    return module;
}
