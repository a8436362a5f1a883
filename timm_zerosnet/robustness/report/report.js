// The reader chooses the curves that have a colour. Without this script the first ones have it.
(() => {
  const boxes = [...document.querySelectorAll('.chooser input')]
  if (!boxes.length) return
  const chooser = document.querySelector('.chooser'), most = Number(chooser.dataset.most)
  const slots = new Map()  // model: its colour
  const parts = model => document.querySelectorAll(`[data-m="${model}"]`)

  function colour(model) {
    const slot = slots.get(model)
    for (const part of parts(model)) {
      if (slot === undefined) delete part.dataset.s
      else {
        part.dataset.s = slot
        if (part.localName === 'g') part.parentNode.append(part)  // above the grey ones
      }
    }
  }

  function choose(box, on) {
    const used = new Set(slots.values())
    if (on && slots.size < most) slots.set(box.value, [...Array(most).keys()].find(slot => !used.has(slot)))
    if (!on) slots.delete(box.value)
    box.checked = slots.has(box.value)
    colour(box.value)
  }

  function tell() {
    const full = slots.size === most
    document.getElementById('curves').classList.toggle('many', slots.size > Number(chooser.dataset.bands))
    for (const box of boxes) box.disabled = full && !box.checked
    const hint = full && boxes.length > most ? ': untick one to choose another' : ''
    document.getElementById('chosen').textContent = `${slots.size} of ${boxes.length} in colour${hint}`
  }

  function reset(count) {
    for (const box of boxes) choose(box, false)
    for (const box of boxes.slice(0, count)) choose(box, true)
    tell()
  }

  for (const box of boxes) {
    box.addEventListener('change', () => { choose(box, box.checked); tell() })
    const mark = on => { for (const part of parts(box.value)) part.classList.toggle('hot', on) }
    for (const name of ['pointerenter', 'focusin']) box.parentNode.addEventListener(name, () => mark(true))
    for (const name of ['pointerleave', 'focusout']) box.parentNode.addEventListener(name, () => mark(false))
  }
  for (const button of chooser.querySelectorAll('button'))
    button.addEventListener('click', () => reset(Number(button.value)))
  document.documentElement.classList.add('live')
  reset(most)
})()
