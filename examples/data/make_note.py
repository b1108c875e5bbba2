# Draws note.png, the picture that read_text reads in its test: python3 make_note.py (needs Pillow 10.1 or newer).
from PIL import Image, ImageDraw, ImageFont
lines = [("The compiler reads this note", 34, 40, 30), ("and prints what it says.", 34, 40, 84),
         ("Order 4711: 3 apples, 12 pears", 26, 40, 160), ("Total: 27.50 EUR", 30, 40, 214), ("Thank you!", 40, 330, 280)]
image = Image.new("L", (640, 360), 245)
draw = ImageDraw.Draw(image)
for text, size, x, y in lines:
    draw.text((x, y), text, fill=20, font=ImageFont.load_default(size))
tilted = Image.new("L", (300, 60), 245)
ImageDraw.Draw(tilted).text((8, 10), "tilted by 7 degrees", fill=20, font=ImageFont.load_default(28))
image.paste(tilted.rotate(7, expand=True, fillcolor=245, resample=Image.BICUBIC), (20, 262))
image.save("note.png", optimize=True)
