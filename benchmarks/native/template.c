#include "template.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define LARGEST (256u * 1024u)
#define WIDEST 40u /* what a mark can turn into */

char *template_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die("cannot read the frame in %s: %s", path, strerror(errno));
    char *text = must_alloc(NULL, LARGEST + 1);
    size_t size = fread(text, 1, LARGEST + 1, file);
    fclose(file);
    if (size > LARGEST)
        die("the frame in %s is larger than %u bytes", path, LARGEST);
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--; /* an editor's last line end is no part of the frame */
    text[size] = '\0';
    return text;
}

void template_parse(struct template *template, char *text, const char *path)
{
    static const struct {
        const char *name;
        int mark;
    } marks[] = {{"@ID@", MARK_ID}, {"@KEY@", MARK_KEY}, {"@CALLER@", MARK_CALLER}, {"@CHANNEL@", MARK_CHANNEL},
                 {"@STAMP@", MARK_STAMP}};
    memset(template, 0, sizeof *template);
    template->text = text;
    int has_id = 0;
    for (const char *at = template->text;;) {
        const char *nearest = NULL;
        size_t which = 0;
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
            const char *found = strstr(at, marks[i].name);
            if (found != NULL && (nearest == NULL || found < nearest)) {
                nearest = found;
                which = i;
            }
        }
        if (template->count == TEMPLATE_PARTS)
            die("the frame in %s has more than %d marks", path, TEMPLATE_PARTS - 1);
        size_t size = nearest != NULL ? (size_t)(nearest - at) : strlen(at);
        template->parts[template->count].text = at;
        template->parts[template->count].size = size;
        template->size += size + WIDEST;
        if (nearest == NULL)
            break;
        has_id |= marks[which].mark == MARK_ID;
        template->has_stamp |= marks[which].mark == MARK_STAMP;
        template->parts[template->count++].mark = marks[which].mark;
        at = nearest + strlen(marks[which].name);
    }
    template->count++;
    if (!has_id)
        die("the frame in %s has no @ID@: the answers could not be told apart", path);
}

void template_read(struct template *template, const char *path)
{
    template_parse(template, template_file(path), path);
}

size_t template_fill(const struct template *template, char *out, uint64_t id, uint32_t caller, const struct stamp *stamp)
{
    static uint64_t run, keys;
    if (run == 0)
        run = now_ns(); /* keys of two runs against one server must differ */
    size_t used = 0;
    for (int i = 0; i < template->count; i++) {
        memcpy(out + used, template->parts[i].text, template->parts[i].size);
        used += template->parts[i].size;
        int wrote = 0;
        switch (template->parts[i].mark) {
        case MARK_ID:
            wrote = snprintf(out + used, WIDEST, "%" PRIu64, id);
            break;
        case MARK_KEY:
            wrote = snprintf(out + used, WIDEST, "%016" PRIx64 "-%" PRIx64, run, ++keys);
            break;
        case MARK_CALLER:
            wrote = snprintf(out + used, WIDEST, "%" PRIu32, caller);
            break;
        case MARK_CHANNEL:
            wrote = snprintf(out + used, WIDEST, "%" PRIu32, stamp->channel);
            break;
        case MARK_STAMP:
            stamp_text(out + used, stamp);
            wrote = STAMP_TEXT;
            break;
        case MARK_NONE:
            break;
        }
        used += (size_t)wrote;
    }
    return used;
}
